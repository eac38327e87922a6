#include "app/doctor_records.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "doctor/records.hpp"
#include "os/linux/fd.hpp"

namespace runmain::app {
namespace {

constexpr std::size_t kFileMax = 64U << 20U;

// What stands there may be anything's: no link, no pipe that would keep us waiting.
Result<std::string> read_regular(const std::string& path) {
  const os::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info {};
  if (!fd || fstat(fd.get(), &info) != 0) return Error::from_errno(path, errno);
  if (!S_ISREG(info.st_mode)) return Error{path + " is no regular file"};
  return os::read_all(fd.get(), kFileMax);
}

}  // namespace

void read_records_in(const std::string& folder, doctor::Evidence& evidence) {
  std::error_code fault;
  for (const auto& entry : std::filesystem::directory_iterator(folder, fault)) {
    if (entry.path().extension() != ".jsonl") continue;
    const auto pid = static_cast<pid_t>(std::strtol(entry.path().stem().c_str(), nullptr, 10));
    auto text = read_regular(entry.path().string());
    if (pid > 0 && text) {
      doctor::read_records(pid, *text, evidence);
    } else {
      ++evidence.records_lost;
    }
  }
}

}  // namespace runmain::app
