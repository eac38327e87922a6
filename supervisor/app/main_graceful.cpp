// runmain-graceful: what `runmain check-graceful -- COMMAND` runs. Writes one JSON object on standard output
// (docs/check-graceful.md): graceful/report.hpp, with "fault" and "output" where the command could not be
// checked to the end, and a line for each trial on standard error if that is a terminal. Exit status: 0 all
// kept, 1 something broken, 2 usage or not started, 4 it never served and nothing says why, 130 interrupted.
//
//     runmain-graceful --runmain PATH [--workers N] [--listen A] [--request PATH] [--slow PATH] [--reloads N]
//     [--health H] [--ready H]
//                      [--signal S] [--env-file F] [--stop-timeout-ms N] [--timeout-ms N] -- COMMAND...
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>

#include "app/graceful_run.hpp"
#include "graceful/judge.hpp"
#include "graceful/report.hpp"
#include "os/linux/fd.hpp"

namespace {

using namespace runmain;

std::atomic<bool> interrupted{false};

void on_signal(int /*number*/) { interrupted = true; }

Duration milliseconds_of(const std::string& value) {
  return std::chrono::milliseconds(std::strtoll(value.c_str(), nullptr, 10));
}

// False: it is not what `runmain check-graceful` gives us.
bool read_arguments(int argc, char** argv, app::GracefulRequest& wish) {
  int i = 1;
  for (; i + 1 < argc && std::string(argv[i]) != "--"; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--runmain") {
      wish.runmain = value;
    } else if (name == "--workers") {
      wish.workers = value;
    } else if (name == "--listen") {
      wish.listen = value;
    } else if (name == "--request") {
      wish.path = value;
    } else if (name == "--slow") {
      wish.slow = value;
    } else if (name == "--reloads") {
      wish.reloads = std::strtoul(value.c_str(), nullptr, 10);
    } else if (name == "--stop-timeout-ms") {
      wish.stop_timeout = milliseconds_of(value);
    } else if (name == "--timeout-ms") {
      wish.patience = milliseconds_of(value);
    } else if (name == "--health" || name == "--ready" || name == "--signal" || name == "--env-file") {
      wish.serve.insert(wish.serve.end(), {name, value});
    } else {
      return false;
    }
  }
  for (++i; i < argc; ++i) wish.command.emplace_back(argv[i]);
  return !wish.command.empty() && !wish.runmain.empty();
}

int exit_of(const Result<void>& ran, bool found) {
  if (!ran && ran.error().code == EINTR) return 130;
  if (found) return 1;
  if (!ran) return ran.error().code == ETIMEDOUT || ran.error().code == ECHILD ? 4 : 2;
  return 0;
}

int check(app::GracefulRequest wish) {
  app::GracefulRun run(std::move(wish));
  const Result<void> ran = run.run();
  const graceful::Observation observation = run.observation();
  const auto findings = graceful::judge(observation);
  auto json = graceful::to_json(observation, findings);
  if (!ran) {
    json["fault"] = {{"message", ran.error().message}, {"hint", ran.error().hint}};
    json["output"] = run.last_lines();
  }
  std::cout << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << std::endl;
  return exit_of(ran, !findings.empty());
}

}  // namespace

int main(int argc, char** argv) {
  os::fill_stdio();
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  std::signal(SIGHUP, on_signal);
  std::signal(SIGPIPE, SIG_IGN);
  if (getppid() != parent) return 130;
  app::GracefulRequest wish;
  wish.interrupted = &interrupted;
  if (isatty(STDERR_FILENO) == 1)
    wish.progress = [](const std::string& what) {
      std::fprintf(stderr, "check-graceful: %s\n", what.c_str());
    };
  if (!read_arguments(argc, argv, wish)) {
    std::fputs("runmain-graceful: started by `runmain check-graceful`\n", stderr);
    return 2;
  }
  try {
    return check(std::move(wish));
  } catch (const std::exception& fault) {  // no memory
    std::fprintf(stderr, "runmain-graceful: %s\n", fault.what());
    return 2;
  }
}
