#include "os/linux/temporary_folder.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <vector>

namespace runmain::os {

Result<TemporaryFolder> TemporaryFolder::make(const std::string& name, const std::string& place,
                                              std::size_t longest) {
  std::vector<std::string> places{place};
  if (place.empty()) {
    const char* runtime = std::getenv("XDG_RUNTIME_DIR");
    const std::string own = runtime == nullptr ? "" : runtime;
    places = {"/tmp"};
    if (!own.empty() && own.size() <= longest) places.insert(places.begin(), own);
  }
  int fault = 0;
  for (const std::string& in : places) {
    TemporaryFolder made;
    std::string path = in + "/" + name + "-XXXXXX";
    if (mkdtemp(path.data()) != nullptr) {
      made.path_ = path;
      return made;
    }
    fault = errno;
  }
  return Error::from_errno("make a folder in " + places.back(), fault);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace runmain::os
