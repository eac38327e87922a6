#include "cli/from_flags.hpp"

#include <unistd.h>

#include <cerrno>
#include <variant>

#include "cli/launch.hpp"
#include "cli/program_facts.hpp"
#include "os/linux/sockets.hpp"

namespace runmain::cli {
namespace {

// The first address that somebody else has. Nothing has been started yet.
std::optional<Error> taken_address(const core::ServiceSpec& service) {
  const auto fault = [](const std::string& host, std::uint16_t port, const std::string& hint) {
    const auto free = check_port(host, port);
    if (free.ok() || free.error().code != EADDRINUSE) return std::optional<Error>();
    const std::string holder = os::holder_of_port(port);
    const std::string by = holder.empty() ? "" : " by " + holder;
    return std::optional<Error>(
        Error{"port " + std::to_string(port) + " is in use" + by, {}, hint, EADDRINUSE});
  };
  for (const core::ListenSpec& listen : service.listen) {
    if (listen.kind != core::AddressKind::tcp || listen.port == 0) continue;
    if (auto taken = fault(listen.host, listen.port, "end what has it, or say --listen 127.0.0.1:0"))
      return taken;
  }
  if (!service.port || *service.port == 0) return std::nullopt;
  return fault({}, *service.port, "end what has it, or say --port auto");
}

// Who is there already, and how both can be.
Error explain_second(Error error) {
  if (error.code == EWOULDBLOCK) {
    error.message = "a `runmain dev` or `serve` of this folder is " + error.message;
    error.hint += "; to have both: --runtime-dir DIR --state-dir DIR";
  }
  return error;
}

}  // namespace

int run_from_flags(const Options& options, Terminal& terminal, config::Purpose purpose) {
  Options with = options;
  const auto here = control::real_config(".");
  if (!here.ok()) {
    complain(terminal, here.error());
    return kUsage;
  }
  config::Flags& flags = with.flags;
  flags.purpose = purpose;
  flags.folder = *here;
  flags.terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
  config::Runner runner;
  if (flags.no_runner) {
    runner.argv = flags.command;
  } else {
    runner = config::choose_runner(flags.command, gather_facts(flags.command, flags.folder),
                                   config::asked_of(flags));
  }
  const auto made = config::from_flags(flags, runner);
  if (const auto* faults = std::get_if<std::vector<Error>>(&made)) {
    for (const Error& fault : *faults) complain(terminal, fault);
    return kUsage;
  }
  const auto& [desired, line] = std::get<config::FromFlags>(made);
  with.file = flags.folder;
  auto launch = prepare_launch(with, desired.mode, &desired);
  if (!launch.ok()) {
    complain(terminal, explain_second(launch.error()));
    return kUsage;
  }
  // Workers that have outlived their keeper have it, and are taken over with it (docs/survival.md).
  const bool outlived = access(launch->folders.adoption().c_str(), F_OK) == 0;
  if (const auto taken = outlived ? std::nullopt : taken_address(desired.services.front())) {
    complain(terminal, *taken);
    return kUsage;
  }
  terminal.out << harmless(line) << '\n';
  terminal.out.flush();
  complain(terminal, become_keeper(*launch));
  return kUsage;
}

void add_addresses(CLI::App* command, config::Flags& flags) {
  command
      ->add_option("--listen", flags.listen, "hold this socket for the program, such as 127.0.0.1:8000 or :0")
      ->type_name("ADDRESS")
      ->allow_extra_args(false);
  command->add_option("--port", flags.port, "the program binds by itself: {port} and $PORT say where")
      ->type_name("N|auto");
  command->add_flag("--adopt", flags.adopt,
                    "the program binds by itself, and gets the socket of --listen for it");
  command->add_flag("--no-overlap", flags.no_overlap, "the old one ends before the new one starts");
  command->add_flag("--no-runner", flags.no_runner, "do not look at what program it is");
}

void add_life(CLI::App* command, Options& options) {
  config::Flags& flags = options.flags;
  command->add_option("--signal", flags.signal, "to stop it (default: TERM)")->type_name("SIGNAL");
  command->add_option("--stop-timeout", flags.stop_timeout, "then its whole tree is killed (default: 10s)")
      ->type_name("TIME");
  command->add_option("--ready", flags.ready, "http:/path, tcp, tcp:HOST:PORT, notify or after:TIME")
      ->type_name("HOW");
  command->add_option("--env-file", flags.env_file, "read variables from it at each start")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command->add_flag("--auto", flags.automatic, "instrument Python and Node without a change of the program");
  command->add_option("--name", flags.name, "of the service (default: by the command)")->type_name("NAME");
  command->add_option("--journal", options.journal, "record every event, for `runmain replay`")
      ->type_name("FILE");
}

}  // namespace runmain::cli
