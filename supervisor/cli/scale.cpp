// `runmain scale`: more or fewer workers of services, while they serve.
#include <charconv>
#include <limits>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/session.hpp"

namespace runmain::cli {
namespace {

struct Wish {
  std::string service;
  std::uint32_t workers = 0;
};

// "web=4"
std::optional<Wish> wish_of(const std::string& text) {
  const std::size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) return std::nullopt;
  Wish wish{text.substr(0, equals), 0};
  const char* end = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data() + equals + 1, end, wish.workers);
  if (read != end) return std::nullopt;
  // However large: the supervisor knows what is too many.
  if (error == std::errc::result_out_of_range) wish.workers = std::numeric_limits<std::uint32_t>::max();
  if (error != std::errc() && error != std::errc::result_out_of_range) return std::nullopt;
  return wish;
}

int run_scale(const Options& options, Terminal& terminal) {
  std::vector<Wish> wishes;
  for (const std::string& text : options.services) {
    const auto wish = wish_of(text);
    if (wish && wish->workers > 0) {
      wishes.push_back(*wish);
      continue;
    }
    complain(terminal, Error{"\"" + text + "\" is no SERVICE=N",
                             {},
                             wish ? "`runmain stop " + wish->service + "` ends all its workers"
                                  : "such as `runmain scale web=4`"});
    return kUsage;
  }
  int exit = kClean;
  auto session = Session::open(options, terminal, exit);
  if (!session) return exit;
  const Time deadline = options.deadline();
  for (const Wish& wish : wishes) {
    const Json args{{"services", {wish.service}}, {"workers", wish.workers}};
    exit = exit_of(session->ask("scale", args, deadline, true), terminal);
    if (exit != kClean) return exit;
    terminal.out << "scaled: " << harmless(wish.service) << ", " << wish.workers
                 << (wish.workers == 1 ? " worker\n" : " workers\n");
  }
  return kClean;
}

}  // namespace

void add_scale(CLI::App& app, Options& options) {
  CLI::App* command =
      add_command(app, options, "scale", "Change the number of workers and wait until they serve",
                  "  runmain scale web=4\n  runmain scale web=4 api=2", run_scale);
  command->add_option("SERVICE=N", options.services, "which service, and how many")
      ->type_name("")
      ->required();
  add_timeout(command, options, "give up waiting after this (default: no limit)");
  add_place(command, options);
}

}  // namespace runmain::cli
