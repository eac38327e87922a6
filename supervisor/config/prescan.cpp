#include "config/prescan.hpp"

#include <optional>
#include <string>

#include "config/text.hpp"

namespace runmain::config {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t'; }

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

bool starts_key(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '"' || c == '\'';
}

// Walks the text by the lexical rules of TOML 1.0: comments, the four kinds of strings, and the rest.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::variant<std::vector<std::size_t>, SyntaxFault> scan() {
    const std::size_t nul = text_.find('\0');
    if (nul != std::string_view::npos) refuse(nul, "a NUL byte", "this is not a text file");
    bool line_start = true;
    while (at_ < text_.size() && !fault_) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == '"' || c == '\'') {
        check_quote();
        skip_string(c);
        line_start = false;
      } else if (!is_ascii(c)) {
        refuse_character();
      } else if (c == '[' && line_start && open_.empty()) {
        check_header();
        line_start = false;
      } else {
        line_start = c == '\n' || (line_start && (is_blank(c) || c == '\r'));
        count(c);
        ++at_;
      }
    }
    if (fault_) return std::move(*fault_);
    return std::move(escapes_);
  }

 private:
  bool is_at(std::string_view what) const { return text_.substr(at_, what.size()) == what; }

  void refuse(std::size_t byte, std::string message, std::string hint) {
    Place place{1, 1};
    for (std::size_t i = 0; i < byte; i += utf8_length(text_, i)) {
      place = text_[i] == '\n' ? Place{place.line + 1, 1} : Place{place.line, place.column + 1};
    }
    fault_ = SyntaxFault{place, std::move(message), std::move(hint)};
  }

  void count(char c) {
    if (c == '[' || c == '{') open_.push_back(c);
    if ((c == ']' || c == '}') && !open_.empty()) open_.pop_back();
    if (c == '=' || c == '[') in_value_ = true;
    if (c == ',' || c == '{') in_value_ = !open_.empty() && open_.back() == '[';
    if (c == '\n') in_value_ = !open_.empty();
    if (c == '.') {
      if (++dots_ >= kKeyPartsMax)
        refuse(at_, "more than " + std::to_string(kKeyPartsMax) + " dotted parts in a key", "");
    } else if (c == '\n' || c == '=' || c == ',' || c == '{' || c == '[') {
      dots_ = 0;
    }
  }

  // At the [ that opens a line outside of every value: after one or two of them a name must come.
  void check_header() {
    dots_ = 0;
    for (int brackets = 0; brackets < 2 && at_ < text_.size() && text_[at_] == '['; ++brackets) ++at_;
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
    if (at_ < text_.size() && starts_key(text_[at_])) return;
    refuse(at_, "a table name is expected here", "write [service.NAME]");
  }

  // toml++ looks ahead of a number to learn its type, also into a text that touches it, where it meets
  // characters that it takes for impossible.
  void check_quote() {
    constexpr std::string_view kBetween = " \t\r\n=,[{";
    if (in_value_ && kBetween.find(text_[at_ - 1]) == std::string_view::npos)
      refuse(at_, "a quote right behind a value", "text is quoted as a whole; a comma separates two values");
  }

  void refuse_character() {
    const std::string character(text_.substr(at_, utf8_length(text_, at_)));
    const bool quotes =
        character == "“" || character == "”" || character == "„" || character == "‘" || character == "’";
    refuse(at_, quote(character) + " cannot stand outside of quotes",
           quotes ? "the quotes of TOML are \" and '" : "text and unusual names need quotes: \"…\"");
  }

  void skip_string(char quote) {
    const std::string_view triple = quote == '"' ? "\"\"\"" : "'''";
    const bool lines = is_at(triple);
    at_ += lines ? 3 : 1;
    while (at_ < text_.size() && !fault_) {
      if (!lines && text_[at_] == '\n') return;
      if (quote == '"' && text_[at_] == '\\') {
        skip_escape(lines);
      } else if (lines && is_at(triple)) {
        at_ += 3;
        // Up to two quotes may stand before the closing three.
        for (int extra = 0; extra < 2 && at_ < text_.size() && text_[at_] == quote; ++extra) ++at_;
        return;
      } else if (!lines && text_[at_] == quote) {
        ++at_;
        return;
      } else {
        ++at_;
      }
    }
  }

  // At a backslash. One that ends a line swallows all blanks and line ends up to the next character.
  void skip_escape(bool lines) {
    std::size_t i = at_ + 1;
    while (i < text_.size() && is_blank(text_[i])) ++i;
    if (i < text_.size() && !is_ascii(text_[i])) {
      refuse(at_, "a backslash before a character that it cannot change", "double the backslash");
      return;
    }
    const bool line_end = i < text_.size() && (text_[i] == '\n' || text_[i] == '\r');
    if (!lines || !line_end) {
      at_ += 2;
      return;
    }
    while (i < text_.size() && (is_blank(text_[i]) || text_[i] == '\n' || text_[i] == '\r')) ++i;
    if (i < text_.size() && !is_ascii(text_[i])) escapes_.push_back(i);
    at_ = i;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t dots_ = 0;  // since the key began
  std::string open_;      // the brackets of open arrays and inline tables
  bool in_value_ = false;
  std::vector<std::size_t> escapes_;
  std::optional<SyntaxFault> fault_;
};

}  // namespace

std::variant<std::vector<std::size_t>, SyntaxFault> prescan(std::string_view text) {
  return Scanner(text).scan();
}

}  // namespace runmain::config
