#include "app/doctor_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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

Result<DoctorFolder> DoctorFolder::make(const std::string& place) {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const std::string first = !place.empty() ? place : runtime == nullptr ? "" : runtime;
  for (const std::string& in : {first, place.empty() ? std::string("/tmp") : std::string()}) {
    if (in.empty()) continue;
    DoctorFolder made;
    std::string path = in + "/runmain-doctor-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) continue;
    made.path_ = path;
    return made;
  }
  return Error::from_errno("mkdtemp " + (place.empty() ? "/tmp" : place) + "/runmain-doctor-XXXXXX", errno);
}

DoctorFolder::~DoctorFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

void DoctorFolder::read(doctor::Evidence& evidence) const {
  std::error_code fault;
  if (path_.empty()) return;
  for (const auto& entry : std::filesystem::directory_iterator(path_, fault)) {
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
