// What control clients ask of the head.
#include <unistd.h>

#include <algorithm>

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

control::LogLine Head::log_line(const drive::OutputLine& line) {
  return {line.service, line.service_name, line.slot,  line.generation,
          line.time_ns, line.text,         line.build, line.continues};
}

}  // namespace runmain::app
