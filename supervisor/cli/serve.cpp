// `runmain serve`: one command from the command line as a pool of workers, in production. Needs no file.
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/from_flags.hpp"

namespace runmain::cli {
namespace {

int run_serve(const Options& options, Terminal& terminal) {
  return run_from_flags(options, terminal, config::Purpose::serve);
}

void add_pool(CLI::App* command, config::Flags& flags) {
  command
      ->add_option(
          "--workers", flags.workers,
          "processes that serve; auto: a worker for each CPU that may be used (default with a socket)")
      ->type_name("N|auto|MIN-MAX");
  command
      ->add_option("--health", flags.health, "asked before a worker is ready, and from then on: /path or tcp")
      ->type_name("HOW");
  command->add_option("--balance", flags.balance, "shared: one socket (default); reuseport: one a worker")
      ->type_name("HOW");
}

void add_roll(CLI::App* command, config::Flags& flags) {
  command->add_option("--roll", flags.roll, "gradual (default) or at-once")->type_name("HOW");
  command->add_option("--order", flags.order, "new-first (default) or old-first")->type_name("HOW");
  command->add_option("--batch", flags.batch, "so many workers at a time (default: 1)")->type_name("N|N%");
  command->add_option("--canary", flags.canary, "so many go first, and must be well for 10s")->type_name("N");
  command->add_option("--max-requests", flags.max_requests, "a worker is replaced after so many")
      ->type_name("N");
  command->add_option("--max-lifetime", flags.max_lifetime, "… after so long")->type_name("TIME");
  command->add_option("--max-memory", flags.max_memory, "… when it has so much")->type_name("SIZE");
}

}  // namespace

void add_serve(CLI::App& app, Options& options) {
  CLI::App* command = add_command(
      app, options, "serve", "Run the command behind -- as workers, in production",
      "  runmain serve --workers 4 --listen :8000 --health /health -- ./server --fd {fd}\n"
      "  runmain serve -- gunicorn app:app\n"
      "A worker that ends is replaced; status 1 when every slot has failed 10 times in a row. Nothing "
      "is watched:\n`runmain reload NAME` brings new code, `runmain scale NAME=N` more workers, here "
      "or in another terminal.\nOnly the folders of --runtime-dir and --state-dir must be writable; "
      "where that of the state\ncannot be, it is in the runtime folder. No terminal and no stdin "
      "are needed; it may be pid 1.",
      run_serve);
  add_pool(command, options.flags);
  add_addresses(command, options.flags);
  add_roll(command, options.flags);
  add_life(command, options);
  add_folders(command, options);
}

}  // namespace runmain::cli
