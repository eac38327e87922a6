#include "os/linux/folder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <memory>

namespace runmain::os {
namespace {

// f_type of statfs(2). WSL 2 mounts the drives of its host by 9p. overlayfs is not here: what is changed
// through it is told.
struct RemoteType {
  std::uint32_t magic;
  const char* name;
};
constexpr RemoteType kRemote[] = {
    {0x6969, "nfs"},      {0x01021997, "9p"},     {0x65735546, "fuse"},   {0xff534d42, "cifs"},
    {0xfe534d42, "smb2"}, {0x517b, "smb"},        {0x00c36400, "ceph"},   {0x5346414f, "afs"},
    {0x73757245, "coda"}, {0x0bd00bd0, "lustre"}, {0x786f4256, "vboxsf"}, {0xbacbacbc, "vmhgfs"},
};

constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::int64_t to_ns(const timespec& t) {
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

FileStat convert(const struct stat& s) {
  FileStat out;
  out.mode = s.st_mode;
  out.links = static_cast<std::uint32_t>(s.st_nlink);
  out.size = static_cast<std::uint64_t>(s.st_size);
  out.device = s.st_dev;
  out.inode = s.st_ino;
  out.mtime_ns = to_ns(s.st_mtim);
  out.ctime_ns = to_ns(s.st_ctim);
  return out;
}

int open_retry(int at, const char* path, int flags) {
  int fd = -1;
  do {
    fd = openat(at, path, flags);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

// Walks a path that no single call takes, in pieces that end at a slash.
Result<UniqueFd> open_long(const std::string& path) {
  UniqueFd here;
  std::size_t from = 0;
  while (from < path.size()) {
    std::size_t to = path.size();
    if (to - from >= PATH_MAX) to = path.rfind('/', from + PATH_MAX - 2);
    if (to == std::string::npos || to <= from) return Error::from_errno("open", ENAMETOOLONG);
    const std::string piece = path.substr(from, to - from);
    UniqueFd next(open_retry(here ? here.get() : AT_FDCWD, piece.c_str(), kFolderFlags));
    if (!next) return Error::from_errno("open " + piece.substr(0, 64) + "…", errno);
    here = std::move(next);
    from = path.find_first_not_of('/', to);
    if (from == std::string::npos) break;
  }
  return here;
}

EntryType type_of(std::uint32_t mode) {
  if (S_ISREG(mode)) return EntryType::file;
  if (S_ISDIR(mode)) return EntryType::folder;
  return S_ISLNK(mode) ? EntryType::link : EntryType::other;
}

EntryType type_of(const Folder& folder, const dirent& entry) {
  switch (entry.d_type) {
    case DT_REG: return EntryType::file;
    case DT_DIR: return EntryType::folder;
    case DT_LNK: return EntryType::link;
    case DT_UNKNOWN: break;
    default: return EntryType::other;
  }
  const auto stat = folder.stat(entry.d_name);  // a file system that does not say
  return stat ? type_of(stat.value().mode) : EntryType::other;
}

}  // namespace

bool FileStat::is_file() const { return S_ISREG(mode); }
bool FileStat::is_folder() const { return S_ISDIR(mode); }
bool FileStat::is_link() const { return S_ISLNK(mode); }

Result<Folder> Folder::open(const std::string& path) {
  Folder folder;
  if (path.size() >= PATH_MAX) {
    auto fd = open_long(path);
    if (!fd) return fd.error();
    folder.fd_ = std::move(*fd);
    return folder;
  }
  folder.fd_.reset(open_retry(AT_FDCWD, path.c_str(), kFolderFlags));
  if (folder.fd_) return folder;
  if (errno != EMFILE && errno != ENFILE) return Error::from_errno("open " + path, errno);
  folder.prefix_ = path + '/';
  return folder;
}

int Folder::at() const { return fd_ ? fd_.get() : AT_FDCWD; }

Result<FileStat> Folder::stat(const std::string& name) const {
  struct stat s {};
  if (fstatat(at(), name_of(name).c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) {
    return Error::from_errno("stat " + name, errno);
  }
  return convert(s);
}

Result<UniqueFd> Folder::open_file(const std::string& name) const {
  UniqueFd fd(
      open_retry(at(), name_of(name).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd) return Error::from_errno("open " + name, errno);
  return fd;
}

Result<std::string> Folder::read_link(const std::string& name) const {
  std::string target(PATH_MAX, '\0');
  const ssize_t size = readlinkat(at(), name_of(name).c_str(), target.data(), target.size());
  if (size < 0) return Error::from_errno("readlink " + name, errno);
  target.resize(static_cast<std::size_t>(size));
  return target;
}

Result<void> Folder::list(const std::function<bool(const std::string&, EntryType)>& use) const {
  if (!fd_) return Error::from_errno("list " + prefix_, EMFILE);
  UniqueFd own(
      openat(fd_.get(), ".", kFolderFlags));  // fdopendir takes its fd, and each listing has its own place
  if (!own) return Error::from_errno("list", errno);
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(fdopendir(own.get()), closedir);
  if (!dir) return Error::from_errno("list", errno);
  own.release();
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(dir.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (!use(name, type_of(*this, *entry))) return {};
  }
  if (errno != 0) return Error::from_errno("list", errno);
  return {};
}

Result<FileStat> stat_fd(int fd) {
  struct stat s {};
  if (fstat(fd, &s) != 0) return Error::from_errno("fstat", errno);
  return convert(s);
}

Result<FileStat> stat_link(const std::string& path) {
  struct stat s {};
  if (lstat(path.c_str(), &s) != 0) return Error::from_errno("stat " + path, errno);
  return convert(s);
}

std::function<const char*(int)>& remote_file_system_fault() {
  static std::function<const char*(int)> fault;
  return fault;
}

const char* remote_file_system(int fd) {
  if (const auto& fault = remote_file_system_fault()) {
    if (const char* name = fault(fd); name != nullptr) return name;
  }
  struct statfs s {};
  if (fstatfs(fd, &s) != 0) return nullptr;
  const auto type = static_cast<std::uint32_t>(s.f_type);
  const auto* found = std::find_if(std::begin(kRemote), std::end(kRemote),
                                   [type](const RemoteType& r) { return r.magic == type; });
  return found == std::end(kRemote) ? nullptr : found->name;
}

bool is_open_for_writing(int fd) {
  // Whoever opens it to write while the lease is held waits for its end, which is at once; the signal that
  // would tell us of him is one that is ignored by default.
  fcntl(fd, F_SETSIG, SIGURG);
  if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  fcntl(fd, F_SETLEASE, F_UNLCK);
  return false;
}

}  // namespace runmain::os
