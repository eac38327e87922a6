#include "cli/left_behind.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "cli/programs.hpp"
#include "cli/session.hpp"
#include "control/instance.hpp"

namespace runmain::cli {
namespace {

constexpr std::size_t kPidsTold = 8;

// The folders that options may mean: the file's, and where none was named, this folder's (`dev`, `serve`);
// each also with the state that `serve` keeps where only the runtime folder can be written.
std::vector<control::Folders> places(const Options& options) {
  std::vector<control::Folders> all{folders_of(options)};
  const auto here = control::real_config(".");
  if (!options.file_given && here.ok()) {
    all.push_back(control::folders_of(*here, options.runtime_dir, options.state_dir,
                                      control::Environment::of_process()));
  }
  for (std::size_t i = 0, n = all.size(); i < n; ++i) {
    control::Folders other = all[i];
    other.state = other.runtime + "/state";
    all.push_back(other);
  }
  return all;
}

// Those with a table first. Without one, what is left may still be known by its runtime folder.
std::vector<control::Folders> likely(const std::vector<control::Folders>& all) {
  std::vector<control::Folders> sorted;
  for (const control::Folders& folders : all) {
    if (access(folders.adoption().c_str(), F_OK) == 0) sorted.push_back(folders);
  }
  for (const control::Folders& folders : all) {
    const bool known = std::any_of(sorted.begin(), sorted.end(),
                                   [&](const control::Folders& f) { return f.runtime == folders.runtime; });
    if (!known && access(folders.runtime.c_str(), F_OK) == 0) sorted.push_back(folders);
  }
  return sorted;
}

Result<ProgramAnswer> ask_keeper(const control::Folders& folders, const std::string& what) {
  const auto keeper = find_program("runmain-keeper");
  if (!keeper.ok()) return keeper.error();
  return run_program(*keeper, {"--left", what, "--adoption", folders.adoption(), "--config", folders.config,
                               "--channel", folders.channel()});
}

}  // namespace

std::optional<LeftBehind> find_left_behind(const Options& options) {
  for (const control::Folders& folders : likely(places(options))) {
    if (control::lock_holder(folders.lock()) != 0) continue;
    const auto answer = ask_keeper(folders, "list");
    if (!answer.ok()) continue;
    LeftBehind left;
    left.folders = folders;
    std::istringstream lines(answer->text);
    for (std::string line; std::getline(lines, line); ++left.processes) {
      if (left.processes < kPidsTold)
        left.pids += (left.pids.empty() ? "" : ", ") + line.substr(0, line.find(' '));
      if (left.processes == kPidsTold) left.pids += ", …";
    }
    if (left.processes > 0) return left;
  }
  return std::nullopt;
}

Result<void> end_left_behind(const LeftBehind& left) {
  const auto lock = control::take_lock(left.folders.lock());
  if (!lock.ok()) return lock.error();
  const auto answer = ask_keeper(left.folders, "end");
  if (!answer.ok()) return answer.error();
  if (WIFEXITED(answer->status) && WEXITSTATUS(answer->status) == 0) return {};
  return Error{"not all that the run before has left could be ended"};
}

Error error_of(const LeftBehind& left) {
  const bool one = left.processes == 1;
  return Error{
      "the runmain of " + left.folders.config + " was killed; " + std::to_string(left.processes) +
          (one ? " process of it lives on (pid " : " processes of it live on (pid ") + left.pids + ")",
      {},
      "start it again as before and it takes over those that it may, or end them with `runmain down`"};
}

}  // namespace runmain::cli
