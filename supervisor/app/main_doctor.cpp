// runmain-doctor: what `runmain doctor -- COMMAND` runs. Writes one JSON object on standard output
// (docs/doctor.md): doctor/report.hpp, with "fault" where the command could not be looked at to the end. Exit
// status: 0 nothing found, 1 something found, 2 usage or not started, 4 it never answered, 130 interrupted.
//
//     runmain-doctor [--request PATH|URL] [--timeout-ms N] -- COMMAND...
//     runmain-doctor [--request PATH|URL] --service NAME --runtime DIR [--probe yes]
#include <sys/prctl.h>

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

#include "app/doctor_living.hpp"
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

struct Wish {
  app::DoctorPlan program;
  app::LivingPlan living;  // with a service: that one
};

bool read_request(const std::string& value, Wish& wish) {
  app::UrlParts url;
  if (value.starts_with("/")) {
    url.path = value;
  } else if (value.find("://") == std::string::npos || !app::parse_url(value, url)) {
    return false;
  }
  wish.program.path = wish.living.path = url.path;
  wish.program.port = wish.living.port = url.port;
  return true;
}

// False: it is not what `runmain doctor` gives us.
bool read_arguments(int argc, char** argv, Wish& wish) {
  int i = 1;
  for (; i + 1 < argc && std::string(argv[i]) != "--"; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--timeout-ms") {
      wish.program.patience = std::chrono::milliseconds(std::strtoll(value.c_str(), nullptr, 10));
    } else if (name == "--service") {
      wish.living.service = value;
    } else if (name == "--probe") {
      wish.living.probes = value == "yes";
    } else if (name == "--runtime") {
      wish.living.runtime = value;
    } else if (name != "--request" || !read_request(value, wish)) {
      return false;
    }
  }
  for (++i; i < argc; ++i) wish.program.command.emplace_back(argv[i]);
  return wish.program.command.empty() != wish.living.service.empty();
}

int exit_of(const Result<void>& ran, bool found) {
  if (!ran && ran.error().code == EINTR) return 130;
  if (!ran && (ran.error().code == ETIMEDOUT || ran.error().code == ECHILD)) return 4;
  if (!ran) return 2;
  return found ? 1 : 0;
}

int report(const Result<void>& ran, const doctor::Evidence& evidence) {
  const auto findings = doctor::judge(evidence);
  auto json = doctor::to_json(evidence, findings);
  if (!ran) json["fault"] = {{"message", ran.error().message}, {"hint", ran.error().hint}};
  std::cout << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << std::endl;
  return exit_of(ran, !findings.empty());
}

int diagnose(Wish wish) {
  if (!wish.living.service.empty()) {
    doctor::Evidence evidence;
    return report(app::look_at_living(wish.living, evidence, [] { return !interrupted; }), evidence);
  }
  app::DoctorRun run(std::move(wish.program));
  const Result<void> ran = run.run();
  return report(ran, run.evidence());
}

}  // namespace

int main(int argc, char** argv) {
  os::fill_stdio();
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  std::signal(SIGHUP, on_signal);
  std::signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);  // nobody reads our report without `runmain`
  Wish wish;
  wish.program.interrupted = &interrupted;
  wish.program.share = drive::share_of(std::filesystem::read_symlink("/proc/self/exe").string());
  if (!read_arguments(argc, argv, wish)) {
    std::fputs("runmain-doctor: started by `runmain doctor`\n", stderr);
    return 2;
  }
  try {
    return diagnose(std::move(wish));
  } catch (const std::exception& fault) {  // no memory
    std::fprintf(stderr, "runmain-doctor: %s\n", fault.what());
    return 2;
  }
}
