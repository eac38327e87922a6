#include "app/doctor_folder.hpp"

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
constexpr mode_t kForAll = S_ISVTX | S_IRWXU | S_IRWXG | S_IRWXO;

}  // namespace

Result<DoctorFolder> DoctorFolder::make(bool for_others) {
  const char* runtime = for_others ? nullptr : std::getenv("XDG_RUNTIME_DIR");
  for (const std::string& place : {std::string(runtime == nullptr ? "" : runtime), std::string("/tmp")}) {
    if (place.empty()) continue;
    std::string path = place + "/runmain-doctor-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) continue;
    DoctorFolder made;
    made.path_ = path;
    if (for_others && chmod(path.c_str(), kForAll) != 0) return Error::from_errno("chmod " + path, errno);
    return made;
  }
  return Error::from_errno("mkdtemp /tmp/runmain-doctor-XXXXXX", errno);
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
    auto text = os::read_file(entry.path().string(), kFileMax);
    if (pid > 0 && text) {
      doctor::read_records(pid, *text, evidence);
    } else {
      ++evidence.records_lost;
    }
  }
}

}  // namespace runmain::app
