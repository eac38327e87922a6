#include "config/text.hpp"

#include <algorithm>
#include <numeric>

#include "base/text.hpp"

namespace runmain::config {
namespace {

constexpr std::size_t kGuessMax = 64;  // longer words are not compared
constexpr std::size_t kWordsMax = 64;  // of which one is expected

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Edits to get from a to b: insert, delete, replace, and swap of two neighbours (Damerau; each place edited
// once).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::size_t utf8_length(std::string_view text, std::size_t i) {
  const auto byte = static_cast<unsigned char>(text[i]);
  std::size_t length = 1;
  if (byte >= 0xc2) length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
  if (byte > 0xf4 || length > text.size() - i) return 1;
  for (std::size_t k = 1; k < length; ++k) {
    if ((static_cast<unsigned char>(text[i + k]) & 0xc0U) != 0x80U) return 1;
  }
  return length;
}

std::string harmless(std::string_view text, std::size_t max) {
  std::string out;
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); i += utf8_length(text, i)) {
    if (count++ == max) {
      out += "…";
      break;
    }
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = utf8_length(text, i);
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && harmless_utf8(text.substr(i)) == 0)) {
      out += '?';
    } else {
      out += text.substr(i, length);
    }
  }
  return out;
}

std::string quote(std::string_view text, std::size_t max) { return "\"" + harmless(text, max) + "\""; }

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  if (word.empty() || word.size() > kGuessMax) return {};
  const std::string wanted = lower(word);
  std::size_t best = std::max<std::size_t>(1, wanted.size() / 3) + 1;
  std::string found;
  for (const std::string& candidate : known) {
    if (candidate.size() > kGuessMax) continue;
    const std::size_t d = distance(wanted, lower(candidate));
    if (d < best && d < candidate.size()) {
      best = d;
      found = candidate;
    }
  }
  return found;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const std::string guess = nearest(word, known);
  if (!guess.empty()) return "did you mean " + quote(guess) + "?";
  std::vector<std::string> words;  // each once: several listeners may be called the same
  for (const std::string& each : known) {
    std::string shown = harmless(each, kQuotedMax);
    if (shown.empty() || std::find(words.begin(), words.end(), shown) != words.end()) continue;
    words.push_back(words.size() < kWordsMax ? std::move(shown) : "…");
    if (words.size() > kWordsMax) break;
  }
  return words.empty() ? std::string() : "expected one of " + join(words, ", ");
}

std::string join(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += between;
    out += word;
  }
  return out;
}

}  // namespace runmain::config
