// runmain-doctor: what `runmain doctor -- COMMAND` runs. Writes one JSON object on standard output
// (docs/doctor.md): doctor/report.hpp, with "fault" where the command could not be looked at to the end. Exit
// status: 0 nothing found, 1 something found, 2 usage or not started, 4 it never answered, 130 interrupted.
//
//     runmain-doctor [--request PATH|URL] [--timeout-ms N] -- COMMAND...
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "app/doctor_requests.hpp"
#include "app/doctor_run.hpp"
#include "doctor/judge.hpp"
#include "doctor/report.hpp"
#include "drive/bootstrap.hpp"
#include "os/linux/fd.hpp"

namespace {

using namespace runmain;

std::atomic<bool> interrupted{false};

void on_signal(int /*number*/) { interrupted = true; }

// False: it is not what `runmain doctor` gives us.
bool read_arguments(int argc, char** argv, app::DoctorPlan& plan) {
  int i = 1;
  for (; i + 1 < argc && std::string(argv[i]) != "--"; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--timeout-ms") {
      plan.patience = std::chrono::milliseconds(std::strtoll(value.c_str(), nullptr, 10));
    } else if (name == "--request" && value.starts_with("/")) {
      plan.path = value;
    } else if (name == "--request") {
      app::UrlParts url;
      if (!app::parse_url(value, url)) return false;
      plan.path = url.path;
      plan.port = url.port;
    } else {
      return false;
    }
  }
  for (++i; i < argc; ++i) plan.command.emplace_back(argv[i]);
  return !plan.command.empty();
}

int exit_of(const Result<void>& ran, bool found) {
  if (!ran && ran.error().code == EINTR) return 130;
  if (!ran && (ran.error().code == ETIMEDOUT || ran.error().code == ECHILD)) return 4;
  if (!ran) return 2;
  return found ? 1 : 0;
}

int diagnose(app::DoctorPlan plan) {
  app::DoctorRun run(std::move(plan));
  const Result<void> ran = run.run();
  const doctor::Evidence evidence = run.evidence();
  const auto findings = doctor::judge(evidence);
  auto json = doctor::to_json(evidence, findings);
  if (!ran) json["fault"] = {{"message", ran.error().message}, {"hint", ran.error().hint}};
  std::cout << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << std::endl;
  return exit_of(ran, !findings.empty());
}

}  // namespace

int main(int argc, char** argv) {
  os::fill_stdio();
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  std::signal(SIGHUP, on_signal);
  std::signal(SIGPIPE, SIG_IGN);
  app::DoctorPlan plan;
  plan.interrupted = &interrupted;
  plan.share = drive::share_of(std::filesystem::read_symlink("/proc/self/exe").string());
  if (!read_arguments(argc, argv, plan)) {
    std::fputs("runmain-doctor: started by `runmain doctor -- COMMAND`\n", stderr);
    return 2;
  }
  try {
    return diagnose(std::move(plan));
  } catch (const std::exception& fault) {  // no memory
    std::fprintf(stderr, "runmain-doctor: %s\n", fault.what());
    return 2;
  }
}
