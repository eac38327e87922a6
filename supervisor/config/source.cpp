#include "config/source.hpp"

#include <algorithm>

#include "config/text.hpp"

namespace runmain::config {
namespace {

std::size_t count_code_points(std::string_view text) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < text.size(); i += utf8_length(text, i)) ++n;
  return n;
}

std::vector<std::string_view> code_points(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < text.size(); i += utf8_length(text, i)) {
    out.push_back(text.substr(i, utf8_length(text, i)));
  }
  return out;
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.' || c == '+';
}

// How many code points from `at` on belong to the key or value there.
std::size_t extent(const std::vector<std::string_view>& line, std::size_t at) {
  if (at >= line.size()) return 1;
  const char quote = line[at][0];
  std::size_t end = at + 1;
  if (quote == '"' || quote == '\'') {
    while (end < line.size() && line[end][0] != quote) end += line[end] == "\\" && quote == '"' ? 2 : 1;
    return end < line.size() ? end + 1 - at : 1;
  }
  if (!is_word(quote)) return 1;
  while (end < line.size() && is_word(line[end][0])) ++end;
  return end - at;
}

std::string shown(std::string_view code_point) { return code_point == "\t" ? " " : harmless(code_point, 1); }

// Whether this key stands in this line, however it goes on: env =, env.NAME, "env" =, .env].
bool names_key(std::string_view line, std::string_view key) {
  for (std::size_t at = line.find(key); at != std::string_view::npos; at = line.find(key, at + 1)) {
    const char before = at == 0 ? ' ' : line[at - 1];
    std::size_t after = at + key.size();
    while (after < line.size() &&
           (line[after] == '"' || line[after] == '\'' || line[after] == ' ' || line[after] == '\t')) {
      ++after;
    }
    const bool ends = after >= line.size() || line[after] == '=' || line[after] == '.' || line[after] == ']';
    if (ends && (before == '.' || !is_word(before))) return true;
  }
  return false;
}

// What is below these keys may be a secret.
bool names_secrets(std::string_view line) { return names_key(line, "env") || names_key(line, "headers"); }

}  // namespace

Source::Source(std::string_view text) : text_(text) {
  starts_.push_back(0);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') starts_.push_back(i + 1);
  }
}

std::string_view Source::line(std::uint32_t number) const {
  if (number == 0 || number > starts_.size()) return {};
  const std::size_t begin = starts_[number - 1];
  std::size_t end = number < starts_.size() ? starts_[number] - 1 : text_.size();
  if (end > begin && text_[end - 1] == '\r') --end;
  return text_.substr(begin, end - begin);
}

Place Source::clamp(Place place) const {
  const auto lines = static_cast<std::uint32_t>(starts_.size());
  place.line = std::clamp<std::uint32_t>(place.line, 1, lines);
  const auto columns = static_cast<std::uint32_t>(count_code_points(line(place.line)) + 1);
  place.column = std::clamp<std::uint32_t>(place.column, 1, columns);
  return place;
}

std::optional<std::size_t> Source::byte_of(Place place) const {
  if (place.line == 0 || place.line > starts_.size() || place.column == 0) return std::nullopt;
  const std::string_view whole = line(place.line);
  std::size_t i = 0;
  for (std::uint32_t column = 1; column < place.column; ++column) {
    if (i >= whole.size()) return std::nullopt;
    i += utf8_length(whole, i);
  }
  return starts_[place.line - 1] + std::min(i, whole.size());
}

Place Source::inside_string(Place place, std::string_view value, std::size_t offset) const {
  const std::optional<std::size_t> begin = byte_of(place);
  if (!begin || offset > value.size() || *begin >= text_.size()) return place;
  const char quote = text_[*begin];
  if (quote != '"' && quote != '\'') return place;
  const std::string_view before = value.substr(0, offset);
  const std::string_view written = text_.substr(*begin + 1, offset);
  if (written != before) return place;
  if (before.find('\n') != std::string_view::npos) return place;
  if (quote == '"' && before.find('\\') != std::string_view::npos) return place;
  return Place{place.line, place.column + 1 + static_cast<std::uint32_t>(count_code_points(before))};
}

bool Source::may_hold_secrets(std::uint32_t number) const {
  if (names_secrets(line(number))) return true;
  for (; number > 0; --number) {
    std::string_view text = line(number);
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    if (!text.empty() && text[0] == '[') return names_secrets(text);
  }
  return false;
}

std::string Source::excerpt(Place place) const {
  if (place.line == 0 || place.line > starts_.size() || may_hold_secrets(place.line)) return {};
  const std::vector<std::string_view> points = code_points(line(place.line));
  const std::size_t column = place.column == 0 ? 0 : std::min<std::size_t>(place.column - 1, points.size());
  const std::size_t from = column > kShownMax / 2 && points.size() > kShownMax ? column - kShownMax / 2 : 0;
  const std::size_t to = std::min(points.size(), from + kShownMax);

  std::string text = from > 0 ? "…" : "";
  for (std::size_t i = from; i < to; ++i) text += shown(points[i]);
  if (to < points.size()) text += "…";

  const std::string number = std::to_string(place.line);
  const std::string gutter(std::max<std::size_t>(number.size(), 5), ' ');
  const std::size_t wide = std::min(extent(points, column), std::max<std::size_t>(to, column + 1) - column);
  std::string out = gutter.substr(number.size()) + number + " | " + text + "\n";
  out += gutter + " | " + std::string(column - from + (from > 0 ? 1 : 0), ' ') + "^" +
         std::string(wide - 1, '~');
  return out + "\n";
}

}  // namespace runmain::config
