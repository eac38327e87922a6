#include "telemetry/destination_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/identity.hpp"
#include "base/named_archive.hpp"

namespace runmain::telemetry {
namespace {

// In a destination's folder: what it is, so that the next observer can send what waits there although no
// configuration names it any more, and who has it: it is locked. Of our user only, as the folder: there may
// be keys in it.
constexpr const char* kDestinationFile = "destination";
constexpr int kTries = 8;  // of a folder that somebody removes at the same moment

// With all folders above it. On failure the errno.
Result<void> make_folder(const std::string& path) {
  constexpr mode_t kOurs = 0700;
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), kOurs) != 0 && errno != EEXIST) return Error::from_errno("mkdir " + part, errno);
    if (at == std::string::npos) return {};
  }
}

std::string file_of(const std::string& folder) { return folder + "/" + kDestinationFile; }

// The lock. Error code EWOULDBLOCK: somebody else has it.
Result<os::UniqueFd> lock_folder(const std::string& folder, bool make) {
  constexpr mode_t kOurs = 0600;
  const std::string path = file_of(folder);
  for (int left = kTries;; --left) {
    if (make) {
      if (auto made = make_folder(folder); !made) return made.error();
    }
    os::UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | (make ? O_CREAT : 0), kOurs));
    if (!fd && (errno != ENOENT || !make || left <= 0)) return Error::from_errno("open " + path, errno);
    if (!fd) continue;  // the folder was removed meanwhile
    // Where there are no locks a folder is used without one.
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && (errno == EWOULDBLOCK || !make))
      return Error::from_errno("flock " + path, errno);
    struct stat file {};
    if (fstat(fd.get(), &file) == 0 && file.st_nlink > 0) return fd;
    // Who had it has removed it: what we hold is no folder's any more.
    if (left <= 0) return Error::from_errno("flock " + path, EWOULDBLOCK);
  }
}

std::optional<ObserverDestination> read_destination(int fd) {
  constexpr std::size_t kMost = 1U << 20U;
  const auto bytes = os::pread_some(fd, kMost, 0);
  ObserverDestination destination;
  if (!bytes || bytes->empty() || !from_named(*bytes, destination)) return std::nullopt;
  return destination;
}

// Where the disk is full it stays unsaid: that costs only the case that no configuration names it later.
void say_destination(int fd, const ObserverDestination& destination) {
  if (read_destination(fd) == destination) return;
  if (ftruncate(fd, 0) == 0) (void)os::pwrite_all(fd, to_named(destination), 0);
}

}  // namespace

std::string folder_name(const ObserverDestination& destination) {
  std::string bytes;
  for (const std::string& variable : destination.variables) bytes += variable + '\0';
  char text[40];
  std::snprintf(text, sizeof text, "%016llx%016llx",
                static_cast<unsigned long long>(siphash24("runmain spill 1", bytes)),
                static_cast<unsigned long long>(siphash24("runmain spill 2", bytes)));
  return text;
}

bool is_folder_of(const std::string& name, const std::string& base) {
  if (name == base) return true;
  const std::string number = name.substr(std::min(name.size(), base.size() + 1));
  return name.starts_with(base + ".") && !number.empty() && number.size() <= 2 &&
         number.find_first_not_of("0123456789") == std::string::npos;
}

Result<HeldFolder> hold_folder(const std::string& parent, const ObserverDestination& destination) {
  const std::string base = folder_name(destination);
  for (int number = 1; number <= kFoldersMax; ++number) {
    HeldFolder folder;
    folder.name = number == 1 ? base : base + "." + std::to_string(number);
    folder.path = parent + "/" + folder.name;
    auto lock = lock_folder(folder.path, true);
    if (!lock && lock.error().code == EWOULDBLOCK) continue;
    if (!lock) return lock.error();
    folder.lock = std::move(*lock);
    say_destination(folder.lock.get(), destination);
    return folder;
  }
  return Error{"other runmains have all its folders in " + parent};
}

std::optional<LeftFolder> hold_left(const std::string& parent, const std::string& name,
                                    const std::vector<ObserverDestination>& named) {
  LeftFolder left;
  left.folder.name = name;
  left.folder.path = parent + "/" + name;
  auto lock = lock_folder(left.folder.path, false);
  if (!lock) return std::nullopt;
  auto destination = read_destination(lock->get());
  for (auto one = named.begin(); !destination && one != named.end(); ++one) {
    if (is_folder_of(name, folder_name(*one))) destination = *one;
  }
  if (!destination || !is_folder_of(name, folder_name(*destination))) return std::nullopt;
  left.folder.lock = std::move(*lock);
  left.destination = std::move(*destination);
  return left;
}

// While the lock is there nobody else makes anything in the folder, and once it is gone the folder goes only
// if nobody has begun anew in it.
void remove_folder(HeldFolder& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> inside;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path, error)) {
    if (entry.path().filename() != kDestinationFile) inside.push_back(entry.path());
  }
  for (const auto& path : inside) std::filesystem::remove_all(path, error);
  unlink(file_of(folder.path).c_str());
  rmdir(folder.path.c_str());
  folder.lock.reset();
}

}  // namespace runmain::telemetry
