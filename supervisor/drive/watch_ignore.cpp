#include "drive/watch_ignore.hpp"

namespace runmain::drive {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Trailing spaces do not count unless a backslash stands before them (gitignore(5)).
std::string_view without_trailing_spaces(std::string_view line) {
  while (!line.empty() && line.back() == ' ') {
    std::size_t backslashes = 0;
    while (backslashes + 1 < line.size() && line[line.size() - 2 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 1) break;
    line.remove_suffix(1);
  }
  return line;
}

}  // namespace

IgnoreList::IgnoreList(const std::vector<std::string>& lines) {
  std::uint32_t number = 0;
  for (const std::string& line : lines) add(line, ++number);
}

IgnoreList::IgnoreList(IgnoreSource source, std::string file, std::string_view content)
    : IgnoreList(source, std::move(file)) {
  if (content.substr(0, kByteOrderMark.size()) == kByteOrderMark)
    content.remove_prefix(kByteOrderMark.size());
  std::uint32_t number = 0;
  while (!content.empty()) {
    const std::size_t end = std::min(content.find('\n'), content.size());
    std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    add(line, ++number);
  }
}

void IgnoreList::add(std::string_view text, std::uint32_t line, std::string name) {
  text = without_trailing_spaces(text);
  if (text.empty() || text.front() == '#') return;
  if (text.size() > kIgnorePatternMax || rules_.size() >= kIgnoreRulesMax) {
    ++refused_;
    return;
  }
  std::string_view pattern = text;
  const bool negated = pattern.front() == '!';
  if (negated) pattern.remove_prefix(1);
  const bool folder_only = !pattern.empty() && pattern.back() == '/';
  if (folder_only) pattern.remove_suffix(1);
  const bool anchored = pattern.find('/') != std::string_view::npos;
  if (!pattern.empty() && pattern.front() == '/') pattern.remove_prefix(1);
  if (pattern.empty()) return;
  rules_.push_back({Glob(pattern), std::string(text), std::move(name), line, negated, folder_only, anchored});
}

const IgnoreRule* IgnoreList::match(std::string_view relative, bool is_folder) const {
  const std::string_view name = relative.substr(relative.rfind('/') + 1);  // npos + 1 is 0
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (rule->folder_only && !is_folder) continue;
    if (rule->glob.matches(rule->anchored ? relative : name)) return &*rule;
  }
  return nullptr;
}

}  // namespace runmain::drive
