// The folder that a program's probes write their records to: made for one look, gone after it.
//
// Invariant: with this its folder and all in it are gone. Thread: one.
#pragma once

#include <string>

#include "base/result.hpp"
#include "doctor/evidence.hpp"

namespace runmain::app {

class DoctorFolder {
 public:
  // In this folder; empty: in $XDG_RUNTIME_DIR, or /tmp. On failure the errno.
  static Result<DoctorFolder> make(const std::string& place = {});
  DoctorFolder() = default;
  ~DoctorFolder();
  DoctorFolder(DoctorFolder&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  DoctorFolder& operator=(DoctorFolder&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }

  const std::string& path() const { return path_; }
  // What was written until now. A file that cannot be read counts as lost.
  void read(doctor::Evidence& evidence) const;

 private:
  std::string path_;  // empty: there is none
};

}  // namespace runmain::app
