// Arguments: what each command takes, and what a person is told who got them wrong.
#include "cli/signal_number.hpp"
#include "run_cli.hpp"
#include "support/catch.hpp"

namespace runmain::cli {
namespace {

const std::vector<std::string> kCommands{"up",     "dev",     "serve",  "down",   "status",  "start",
                                         "stop",   "restart", "reload", "scale",  "signal",  "logs",
                                         "events", "why",     "check",  "replay", "version", "traces"};

TEST_CASE("every command has its own help with an example") {
  const Ran all = parse_only({"--help"});
  CHECK(all.exit == kClean);
  for (const std::string& command : kCommands) {
    const Ran help = parse_only({command, "--help"});
    INFO(command);
    CHECK(help.exit == kClean);
    CHECK(help.err.empty());
    CHECK(help.out.find("runmain " + command) != std::string::npos);
    CHECK(help.out.find("Examples:\n") != std::string::npos);
    CHECK(all.out.find("\n  " + command + " ") != std::string::npos);
  }
}

TEST_CASE("without a command the help goes to standard error, exit 2") {
  const Ran ran = parse_only({});
  CHECK(ran.exit == kUsage);
  CHECK(ran.out.empty());
  CHECK(ran.err.find("Subcommands:") != std::string::npos);
}

TEST_CASE("arguments end up where they belong") {
  const Ran up = parse_only({"up", "-d", "-c", "x.toml", "--journal", "j", "--timeout", "2m", "web", "db"});
  CHECK(up.exit == -1);
  CHECK(up.options.command == "up");
  CHECK(up.options.detach);
  CHECK(up.options.file == "x.toml");
  CHECK(up.options.journal == "j");
  CHECK(up.options.timeout_s == 120);
  CHECK(up.options.services == std::vector<std::string>{"web", "db"});
  const Ran before = parse_only({"-c", "y.toml", "status", "--json"});
  CHECK(before.options.file == "y.toml");
  CHECK(before.options.json);
  CHECK(parse_only({"status"}).options.file == "supervisor.toml");
  const Ran logs = parse_only({"logs", "-f", "-n", "5", "web"});
  CHECK(logs.options.follow);
  CHECK(logs.options.lines == 5);
  const Ran traces = parse_only({"traces", "-f", "-n", "3", "--service", "web", "--generation", "7"});
  CHECK(traces.options.follow);
  CHECK(traces.options.traces == 3);
  CHECK(traces.options.service == "web");
  CHECK(traces.options.generation == 7);
  CHECK_FALSE(traces.options.duplicates);
  CHECK(parse_only({"traces"}).options.traces == 20);
  const Ran signal = parse_only({"signal", "web", "HUP"});
  CHECK(signal.options.service == "web");
  CHECK(signal.options.signal == "HUP");
  CHECK(parse_only({"check", "z.toml"}).options.file == "z.toml");
  CHECK(parse_only({"replay", "run.journal"}).options.journal == "run.journal");
  CHECK(parse_only({"stop", "--all"}).options.all);
  const Ran folders = parse_only({"down", "--runtime-dir", "/r", "--state-dir", "/s"});
  CHECK(folders.options.runtime_dir == "/r");
  CHECK(folders.options.state_dir == "/s");
}

TEST_CASE("what stands behind -- is the command of dev, word by word") {
  const std::vector<std::string> command{"up", "--watch", "", "-x", "[a,b]", "a=b", "--", "-c", "%%"};
  std::vector<std::string> args{"dev", "--ext", "py", "-w", "src", "--watch", "doc", "--listen", ":0", "--"};
  args.insert(args.end(), command.begin(), command.end());
  const Ran dev = parse_only(args);
  INFO(dev.err);
  REQUIRE(dev.exit == -1);
  CHECK(dev.options.flags.command == command);
  CHECK(dev.options.flags.watch == std::vector<std::string>{"src", "doc"});
  CHECK(dev.options.flags.ext == "py");
  CHECK(dev.options.flags.listen == std::vector<std::string>{":0"});
  CHECK(parse_only({"dev", "-i", "[ab]", "--", "x"}).options.flags.ignore ==
        std::vector<std::string>{"[ab]"});
  CHECK(parse_only({"-c", "dev", "logs", "--", "x"}).options.services == std::vector<std::string>{"x"});
  CHECK(parse_only({"stop", "dev", "--", "x"}).options.flags.command.empty());
  const Ran bare = parse_only({"dev", "./server"});
  CHECK(bare.exit == kUsage);
  CHECK(bare.err.find("behind --") != std::string::npos);
  CHECK(parse_only({"serve", "./server"}).err.find("runmain serve -- ./server") != std::string::npos);
  const Ran serve = parse_only(
      {"serve", "--workers", "2-8", "--health", "/", "--max-memory", "1GB", "--", "x", "--workers"});
  CHECK(serve.options.flags.workers == "2-8");
  CHECK(serve.options.flags.health == "/");
  CHECK(serve.options.flags.max_memory == "1GB");
  CHECK(serve.options.flags.command == std::vector<std::string>{"x", "--workers"});
  CHECK(parse_only({"reload", "web", "--wait"}).exit == -1);
  CHECK(parse_only({"reload", "web", "--no-wait"}).options.no_wait);
  CHECK(parse_only({"reload", "web", "--canary", "2"}).options.canary == 2);
  CHECK(parse_only({"reload", "web", "--canary", "0"}).exit == kUsage);
  CHECK(parse_only({"reload", "web", "--wait", "--no-wait"}).exit == kUsage);
  CHECK(parse_only({"scale"}).exit == kUsage);
  CHECK(parse_only({"status", "-c", "x.toml"}).options.file_given);
  CHECK_FALSE(parse_only({"status"}).options.file_given);
}

TEST_CASE("a wrong command line is told in one line with a hint, exit 2") {
  struct Case {
    std::vector<std::string> args;
    const char* message;
    const char* hint;
  };
  const Case cases[] = {
      {{"stauts"}, "unknown command \"stauts\"", "did you mean \"status\"?"},
      {{"xyzzy"}, "unknown command \"xyzzy\"", "see `runmain --help`"},
      {{"status", "--jsno"}, "unknown option \"--jsno\"", "did you mean \"--json\"?"},
      {{"up", "--jurnal=x"}, "unknown option \"--jurnal\"", "did you mean \"--journal\"?"},
      {{"dev", "--poll=3", "--", "x"}, "--poll takes no value", "see `runmain dev --help`"},
      {{"dev", "--ext", "", "--", "x"}, "--ext: its value is empty", "see `runmain dev --help`"},
      {{"version", "web"}, "\"web\" is one argument too many for version", "see `runmain version --help`"},
      {{"signal", "web"}, "SIGNAL is required", "see `runmain signal --help`"},
      {{"why"}, "SERVICE is required", "see `runmain why --help`"},
      {{"replay"}, "JOURNAL is required", "see `runmain replay --help`"},
      {{"logs", "-n", "-1"}, "--lines", "see `runmain logs --help`"},
      {{"logs", "-n", "5001"}, "--lines", "see `runmain logs --help`"},
      {{"traces", "web"}, "\"web\" is one argument too many for traces", "see `runmain traces --help`"},
      {{"traces", "--generation", "0"}, "--generation", "see `runmain traces --help`"},
      {{"down", "--timeout", "soon"}, "\"soon\" is not a time", "see `runmain down --help`"},
      {{"down", "--timeout", "-1"}, "is not a time", "see `runmain down --help`"},
      {{"up", "-c"}, "--config", "see `runmain up --help`"},
  };
  for (const Case& c : cases) {
    const Ran ran = parse_only(c.args);
    INFO(ran.err);
    CHECK(ran.exit == kUsage);
    CHECK(ran.out.empty());
    CHECK(ran.err.find(c.message) != std::string::npos);
    CHECK(ran.err.find(std::string("  hint: ") + c.hint + "\n") != std::string::npos);
    CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 2);
  }
}

TEST_CASE("a time limit has a unit, seconds if it has none") {
  struct Case {
    const char* text;
    double seconds;  // 0: refused
  };
  const Case cases[] = {{"10", 10}, {"10s", 10}, {"500ms", 0.5}, {"1.5m", 90}, {"2h", 7200},
                        {"0", 0},   {"-1s", 0},  {"1e9", 0},     {"10x", 0},   {"s", 0},
                        {"", 0},    {"inf", 0},  {"9999h", 0},   {"nan", 0}};
  for (const Case& c : cases) {
    double seconds = 0;
    INFO(c.text);
    CHECK(read_seconds(c.text, seconds) == (c.seconds > 0));
    CHECK(seconds == Approx(c.seconds));
  }
}

TEST_CASE("a signal has a name with or without SIG, or a number") {
  struct Case {
    const char* text;
    int number;
  };
  const Case cases[] = {
      {"TERM", 15}, {"SIGTERM", 15}, {"sigusr1", 10}, {"hup", 1}, {"9", 9},   {"64", 64},          {"65", 0},
      {"0", 0},     {"-9", 0},       {"", 0},         {"SIG", 0}, {"TRM", 0}, {"9999999999999", 0}};
  for (const Case& c : cases) {
    INFO(c.text);
    CHECK(signal_number(c.text) == c.number);
  }
}

TEST_CASE("version is told by the command and by the option") {
  CHECK(run_cli({"version"}).out == "runmain " RUNMAIN_VERSION "\n");
  CHECK(run_cli({"--version"}).out == "runmain " RUNMAIN_VERSION "\n");
  CHECK(run_cli({"version", "--json"}).out == "{\"version\":\"" RUNMAIN_VERSION "\"}\n");
}

}  // namespace
}  // namespace runmain::cli
