#include "cli/log_resume.hpp"

#include "base/wall_time.hpp"

namespace runmain::cli {
namespace {

constexpr std::size_t kToMilliseconds = 23;  // "2026-11-21T10:00:00.123": a log tells no more

// A log file does not tell the generation.
std::string identity(const control::Json& item) {
  return control::text_of(item, "label") + (control::flag_of(item, "continues") ? "+" : "|") +
         control::text_of(item, "text");
}

}  // namespace

LogResume::LogResume() : last_(rfc3339(wall_now_ns()).substr(0, kToMilliseconds)) {}

bool LogResume::is_new(const control::Json& item) {
  const std::string time = control::text_of(item, "time").substr(0, kToMilliseconds);
  if (time.empty()) return true;  // a gap
  if (time > last_) {
    last_ = time;
    shown_.clear();
    known_.clear();
  }
  if (time < last_) return true;
  const std::string line = identity(item);
  const auto known = known_.find(line);
  if (known != known_.end() && --known->second >= 0) return false;
  ++shown_[line];
  return true;
}

std::string LogResume::since() {
  known_ = shown_;
  return last_;
}

}  // namespace runmain::cli
