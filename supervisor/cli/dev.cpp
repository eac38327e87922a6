// `runmain dev`: one command from the command line, restarted at every save. Needs no file.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/from_flags.hpp"

namespace runmain::cli {
namespace {

int run_dev(const Options& options, Terminal& terminal) {
  return run_from_flags(options, terminal, config::Purpose::dev);
}

void add_watching(CLI::App* command, config::Flags& dev) {
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

void add_screen(CLI::App* command, config::Flags& dev) {
  command->add_flag("--browser", dev.browser, "pages with the script that is named reload by themselves");
  command->add_flag("--clear", dev.clear, "clear the terminal before each restart");
  command->add_flag("--exit-on-error", dev.exit_on_error, "end with status 1 when the program fails");
}

}  // namespace

void add_dev(CLI::App& app, Options& options) {
  CLI::App* command =
      add_command(app, options, "dev", "Run the command behind -- and restart it at every save",
                  "  runmain dev -- flask run\n  runmain dev --build make -- ./server\n"
                  "  runmain dev --listen 127.0.0.1:8000 -- ./server --fd {fd}",
                  run_dev);
  add_watching(command, options.flags);
  command->add_option("--workers", options.flags.workers, "so many processes serve")->type_name("N");
  add_addresses(command, options.flags);
  add_life(command, options);
  add_screen(command, options.flags);
  add_folders(command, options);
}

}  // namespace runmain::cli
