// A folder for as long as its owner: made by mkdtemp(3), so for this user alone, and gone with all that is in
// it. Non-goal: surviving a kill; who must not leave it has somebody else remove it.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "base/result.hpp"

namespace runmain::os {

class TemporaryFolder {
 public:
  // PLACE/NAME-XXXXXX; `place` empty: in $XDG_RUNTIME_DIR if its path has at most `longest` bytes, or in
  // /tmp. On failure the errno of mkdtemp(3).
  static Result<TemporaryFolder> make(const std::string& name, const std::string& place = {},
                                      std::size_t longest = 4096);
  TemporaryFolder() = default;
  ~TemporaryFolder();
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;  // empty: there is none
};

}  // namespace runmain::os
