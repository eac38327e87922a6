// What control clients ask of the head.
#include <unistd.h>

#include <algorithm>

#include "app/beside.hpp"
#include "app/head.hpp"
#include "drive/identity.hpp"

namespace runmain::app {

std::vector<std::string> Head::listening(ServiceId service) {
  std::vector<std::string> bound;
  if (const auto* entry = services_.find(service)) {
    for (const drive::LaunchListener& l : entry->listeners) bound.push_back(l.bound);
  }
  return bound;
}

std::string Head::instance_id(ChildKey key) {
  return children_.contains(key) ? drive::instance_id(greeting_.welcome.secret, key) : std::string();
}

control::Identity Head::identity() { return {static_cast<std::int32_t>(getppid()), options_.config}; }

std::vector<control::LogLine> Head::recent(const std::vector<ServiceId>& services, std::size_t count) {
  std::vector<control::LogLine> lines;
  for (const drive::OutputLine& line : output_->recent(services, count)) lines.push_back(log_line(line));
  return lines;
}

// What the newest generation (or its build step) printed.
std::vector<std::string> Head::last_words(ServiceId service) {
  constexpr std::size_t kLines = 60;
  const std::vector<drive::OutputLine> recent = output_->recent({service}, kLines);
  std::uint32_t newest = 0;
  for (const drive::OutputLine& line : recent) newest = std::max(newest, line.generation);
  std::vector<std::string> words;
  for (const drive::OutputLine& line : recent) {
    if (line.generation == newest || line.generation == 0)
      words.push_back(line.text);  // 0: a file does not tell
  }
  return words;
}

// Two generations at a time is what a program may not be made for.
std::string Head::advice(const core::Fact& failed) {
  if (!failed.text.ends_with("serves on")) return {};
  (void)output_->on_output_event();  // the keeper has its last words before its end
  const std::string line = line_of_conflict(last_words(failed.service));
  if (line.empty()) return {};
  const bool flags = !options_.desired.empty();
  return "\"" + line + "\": if there can be only one, " +
         (flags ? "say --no-overlap" : "write overlap = false");
}

control::Json Head::explain(ServiceId service, const std::string& path) {
  return drive::to_json(watcher_->explain(service, path));
}

control::LogLine Head::log_line(const drive::OutputLine& line) {
  return {line.service, line.service_name, line.slot,  line.generation,
          line.time_ns, line.text,         line.build, line.continues};
}

}  // namespace runmain::app
