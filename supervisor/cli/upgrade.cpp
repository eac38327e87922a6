// `runmain upgrade`: the runmain that runs becomes this one, while everything goes on.
#include <cerrno>
#include <thread>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/programs.hpp"
#include "cli/session.hpp"
#include "control/suggest.hpp"

namespace runmain::cli {
namespace {

constexpr std::chrono::milliseconds kAskAgain{20};
constexpr std::chrono::seconds kUpgradeLimit{60};  // three programs are asked, for 10 s each at most

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

// What runs once no upgrade is under way any more. On failure nobody answers in time.
Result<Answer> settled(Session& session, Time deadline) {
  for (;;) {
    auto answer = session.ask("ping", Json::object(), deadline, true);
    if (!answer.ok() || !answer->ok || !answer->value.value("upgrading", false)) return answer;
    std::this_thread::sleep_for(kAskAgain);
  }
}

// Why the programs that run are not those of `folder`; empty: they are.
std::string fault_of(const Json& before, const Json& now, const std::string& folder) {
  const bool told = control::number_of(now, "upgrades") != control::number_of(before, "upgrades");
  const std::string why = control::text_of(now, "upgrade_error");
  if (told && !why.empty()) return why;
  if (control::text_of(now, "program") == folder + "/runmain-supervisor") return {};
  return "the supervisor was replaced before it had heard of it; ask again";
}

void say(const Json& before, const Json& now, Terminal& terminal) {
  const auto pid = [](const Json& who, const char* of) {
    return std::to_string(control::number_of(who, of));
  };
  terminal.out << "upgraded: " << control::text_of(before, "version") << " to "
               << control::text_of(now, "version") << ", keeper " << pid(now, "pid")
               << " as before, supervisor " << pid(before, "head_pid") << " to " << pid(now, "head_pid")
               << '\n';
}

int run_upgrade(const Options& options, Terminal& terminal) {
  int exit = kClean;
  auto session = Session::open(options, terminal, exit);
  if (!session) return exit;
  const auto keeper = find_program("runmain-keeper");
  if (!keeper.ok()) {
    complain(terminal, keeper.error());
    return kUsage;
  }
  const Time deadline = options.timeout_s > 0 ? options.deadline() : control::deadline_after(kUpgradeLimit);
  const auto before = session->ask("ping", Json::object(), deadline, true);
  if (!before.ok() || !before->ok) return exit_of(before, terminal);
  const std::string folder = folder_of(*keeper);
  const auto asked = session->ask("upgrade", Json{{"folder", folder}}, deadline, false);
  const bool replaced = !asked.ok() && asked.error().code == ECONNRESET;
  if (!replaced && !(asked.ok() && asked->ok)) return exit_of(asked, terminal);
  const auto now = settled(*session, deadline);
  if (!now.ok() || !now->ok) return exit_of(now, terminal);
  if (const std::string why = fault_of(before->value, now->value, folder); !why.empty()) {
    complain(terminal, Error{why});
    return kServiceFailed;
  }
  say(before->value, now->value, terminal);
  return kClean;
}

}  // namespace

void add_upgrade(CLI::App& app, Options& options) {
  CLI::App* command =
      add_command(app, options, "upgrade", "Replace the runmain that runs by this one, while all goes on",
                  "  runmain upgrade\n  /opt/runmain-new/bin/runmain upgrade -c prod.toml", run_upgrade);
  add_timeout(command, options, "give up waiting after this (default: 1m)");
  add_place(command, options);
}

}  // namespace runmain::cli
