// Words for faults: quoting what the user wrote, and guessing what was meant.
// Invariant: whatever comes in, what goes out is short and safe to print on a terminal. Non-goal:
// translation.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace runmain::config {

inline constexpr std::size_t kQuotedMax = 60;       // characters of the user's text in a message
inline constexpr std::size_t kQuotedPathMax = 500;  // of a path

// The text with what could harm a terminal as ?, cut after `max` code points.
std::string harmless(std::string_view text, std::size_t max);
// The same in double quotes.
std::string quote(std::string_view text, std::size_t max = kQuotedMax);
inline std::string quote_path(std::string_view path) { return quote(path, kQuotedPathMax); }

// The known word nearest to `word`, if it is near enough to be a slip; otherwise empty. Case does not count.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

// `did you mean "command"?`, or `expected one of a, b, c`.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

std::string join(const std::vector<std::string>& words, std::string_view between);

// The number of bytes of the UTF-8 character at `i`; 1 for a byte that starts none. Requires i < text.size().
std::size_t utf8_length(std::string_view text, std::size_t i);

}  // namespace runmain::config
