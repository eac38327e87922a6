#include "cli/programs.hpp"

#include <unistd.h>

#include <cerrno>
#include <climits>

namespace runmain::cli {

Result<std::string> find_program(const std::string& name) {
  char self[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  if (n <= 0) return Error::from_errno("read /proc/self/exe", errno);
  const std::string path(self, static_cast<std::size_t>(n));
  const std::string folder = path.substr(0, path.rfind('/'));
  const std::string above = folder.substr(0, folder.rfind('/'));
  const std::string beside = folder + "/" + name;
  const std::string installed = above + "/libexec/runmain/" + name;
  if (access(beside.c_str(), X_OK) == 0) return beside;
  if (access(installed.c_str(), X_OK) == 0) return installed;
  return Error{name + " is missing", {}, "looked for " + beside + " and " + installed, ENOENT};
}

}  // namespace runmain::cli
