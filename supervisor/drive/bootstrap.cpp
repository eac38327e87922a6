#include "drive/bootstrap.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <climits>

namespace runmain::drive {
namespace {

constexpr std::string_view kPython = "/python/bootstrap";
constexpr std::string_view kNode = "/node/register.js";
constexpr std::string_view kPythonProbe = "/python/probe";
constexpr std::string_view kNodeProbe = "/node/probe.js";
constexpr std::string_view kShare = "share/runmain";

bool is_file(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), R_OK) == 0;
}

bool is_folder(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string parent(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

// By the last three bits of every mode on the way.
bool is_open_to_all(const std::string& file) {
  for (std::string path = file; !path.empty(); path = parent(path)) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) return false;
    const mode_t needed = S_ISDIR(info.st_mode) ? S_IXOTH : S_IROTH;
    if ((info.st_mode & needed) == 0) return false;
  }
  return true;
}

bool ends_in(std::string_view path, std::string_view tail) {
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  return path.ends_with(std::string(kShare) + std::string(tail));
}

// Outside of quotes a backslash is a plain letter to Node.
bool is_quote_open(std::string_view value) {
  bool open = false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (open && value[i] == '\\') {
      ++i;
    } else if (value[i] == '"') {
      open = !open;
    }
  }
  return open;
}

std::string quoted_for_node(const std::string& file) {
  if (file.find_first_of(" \"\\") == std::string::npos) return file;
  std::string out = "\"";
  for (const char c : file) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

// The folder of a build has links.
bool anyone_can_read(const std::string& file) {
  char real[PATH_MAX];
  return realpath(file.c_str(), real) != nullptr && is_open_to_all(file) && is_open_to_all(real);
}

Bootstrap bootstrap_in(const std::string& share) {
  Bootstrap found;
  if (share.empty()) return found;
  const std::string python = share + std::string(kPython);
  const std::string node = share + std::string(kNode);
  // A colon would part PYTHONPATH in the middle of it.
  const std::string customize = python + "/sitecustomize.py";
  if (python.find(':') == std::string::npos && is_file(customize)) found.python = python;
  if (is_file(node)) found.node = node;
  const std::string probe = share + std::string(kPythonProbe);
  if (probe.find(':') == std::string::npos && is_file(probe + "/sitecustomize.py"))
    found.python_probe = probe;
  if (is_file(share + std::string(kNodeProbe))) found.node_probe = share + std::string(kNodeProbe);
  found.others_can_read = !found.empty() && (found.python.empty() || anyone_can_read(customize)) &&
                          (found.node.empty() || anyone_can_read(node));
  return found;
}

std::string share_of(const std::string& executable) {
  const std::string folder = parent(executable);
  const std::string above = parent(folder);
  for (const std::string& root : {above, parent(above)}) {
    std::string share = root + "/" + std::string(kShare);
    if (is_folder(share)) return share;
  }
  return {};
}

Bootstrap find_bootstrap() {
  char self[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  return n <= 0 ? Bootstrap{} : bootstrap_in(share_of(std::string(self, static_cast<std::size_t>(n))));
}

bool restricts_node(std::string_view words) {
  return words.find("--permission") != std::string_view::npos ||
         words.find("--experimental-permission") != std::string_view::npos;
}

std::string with_python(std::string_view value, const std::string& folder) {
  return value.empty() ? folder : folder + ":" + std::string(value);
}

std::string with_node(std::string_view value, const std::string& file) {
  if (is_quote_open(value) || restricts_node(value)) return std::string(value);
  const std::string ours = "--require " + quoted_for_node(file);
  return value.empty() ? ours : std::string(value) + " " + ours;
}

std::string with_node_first(std::string_view value, const std::string& file) {
  if (is_quote_open(value) || restricts_node(value)) return std::string(value);
  const std::string ours = "--require " + quoted_for_node(file);
  return value.empty() ? ours : ours + " " + std::string(value);
}

bool is_bootstrap_folder(std::string_view folder) { return ends_in(folder, kPython); }

bool is_bootstrap_file(std::string_view file) { return ends_in(file, kNode); }

}  // namespace runmain::drive
