// `runmain dev`: one command from the command line, restarted at every save. Needs no file.
#include <unistd.h>

#include <cerrno>
#include <variant>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/dev_facts.hpp"
#include "cli/launch.hpp"

namespace runmain::cli {
namespace {

// The first address that somebody else has. Nothing has been started yet.
std::optional<Error> taken_address(const core::ServiceSpec& service) {
  const auto fault = [](const std::string& host, std::uint16_t port, const std::string& hint) {
    const auto free = check_port(host, port);
    if (free.ok() || free.error().code != EADDRINUSE) return std::optional<Error>();
    return std::optional<Error>(Error{"port " + std::to_string(port) + " is in use", {}, hint, EADDRINUSE});
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
    error.message = "a `runmain dev` of this folder is " + error.message;
    error.hint += "; to have both: --runtime-dir DIR --state-dir DIR";
  }
  return error;
}

int run_dev(const Options& options, Terminal& terminal) {
  Options with = options;
  const auto here = control::real_config(".");
  if (!here.ok()) {
    complain(terminal, here.error());
    return kUsage;
  }
  config::DevOptions& dev = with.dev;
  dev.folder = *here;
  dev.terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
  config::Runner runner;
  if (dev.no_runner) {
    runner.argv = dev.command;
  } else {
    runner = config::choose_runner(dev.command, gather_facts(dev.command, dev.folder), config::asked_of(dev));
  }
  const auto made = config::make_dev(dev, runner);
  if (const auto* faults = std::get_if<std::vector<Error>>(&made)) {
    for (const Error& fault : *faults) complain(terminal, fault);
    return kUsage;
  }
  const auto& [desired, line] = std::get<config::Dev>(made);
  with.file = dev.folder;
  auto launch = prepare_launch(with, desired.mode, &desired);
  if (!launch.ok()) {
    complain(terminal, explain_second(launch.error()));
    return kUsage;
  }
  if (const auto taken = taken_address(desired.services.front())) {
    complain(terminal, *taken);
    return kUsage;
  }
  terminal.out << harmless(line) << '\n';
  terminal.out.flush();
  complain(terminal, become_keeper(*launch));
  return kUsage;
}

void add_addresses(CLI::App* command, config::DevOptions& dev) {
  command
      ->add_option("--listen", dev.listen, "hold this socket for the program, such as 127.0.0.1:8000 or :0")
      ->type_name("ADDRESS")
      ->allow_extra_args(false);
  command->add_option("--port", dev.port, "the program binds by itself: {port} and $PORT say where")
      ->type_name("N|auto");
  command->add_option("--workers", dev.workers, "so many processes serve")->type_name("N");
  command->add_flag("--no-overlap", dev.no_overlap, "the old one ends before the new one starts");
  command->add_flag("--no-runner", dev.no_runner, "do not look at what program it is");
}

void add_watching(CLI::App* command, config::DevOptions& dev) {
  command->add_option("-w,--watch", dev.watch, "file or folder (default: this folder)")
      ->type_name("PATH")
      ->allow_extra_args(false);
  command->add_option("-i,--ignore", dev.ignore, "as a line of .gitignore")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command->add_option("-e,--ext", dev.ext, "only files of these, such as py,html")->type_name("LIST");
  command->add_flag("--poll", dev.poll, "look every so often: for filesystems without events");
  command->add_option("--settle", dev.settle, "quiet for so long is the end of a save (default: 50ms)")
      ->type_name("TIME");
  command->add_option("--build", dev.build, "run this first; if it fails, the old one serves on")
      ->type_name("CMD");
  command
      ->add_option("--on-change", dev.on_change, "restart, queue, ignore, or a signal instead of a restart")
      ->type_name("HOW");
}

void add_life(CLI::App* command, Options& options) {
  config::DevOptions& dev = options.dev;
  command->add_option("--signal", dev.signal, "to stop it (default: TERM)")->type_name("SIGNAL");
  command->add_option("--stop-timeout", dev.stop_timeout, "then its whole tree is killed (default: 10s)")
      ->type_name("TIME");
  command->add_option("--ready", dev.ready, "http:/path, tcp, tcp:HOST:PORT, notify or after:TIME")
      ->type_name("HOW");
  command->add_option("--env-file", dev.env_file, "read variables from it at each start")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command->add_flag("--browser", dev.browser, "pages with the script that is named reload by themselves");
  command->add_flag("--clear", dev.clear, "clear the terminal before each restart");
  command->add_flag("--exit-on-error", dev.exit_on_error, "end with status 1 when the program fails");
  command->add_option("--name", dev.name, "of the service (default: by the command)")->type_name("NAME");
  command->add_option("--journal", options.journal, "record every event, for `runmain replay`")
      ->type_name("FILE");
}

}  // namespace

void add_dev(CLI::App& app, Options& options) {
  CLI::App* command =
      add_command(app, options, "dev", "Run the command behind -- and restart it at every save",
                  "  runmain dev -- flask run\n  runmain dev --build make -- ./server\n"
                  "  runmain dev --listen 127.0.0.1:8000 -- ./server --fd {fd}",
                  run_dev);
  add_watching(command, options.dev);
  add_addresses(command, options.dev);
  add_life(command, options);
  add_folders(command, options);
}

}  // namespace runmain::cli
