#include "config/prescan.hpp"

#include "config/text.hpp"

namespace runmain::config {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t'; }

bool starts_key(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '"' || c == '\'';
}

// Walks the text by the lexical rules of TOML 1.0: comments, the four kinds of strings, and the rest.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::optional<SyntaxFault> scan() {
    const std::size_t nul = text_.find('\0');
    if (nul != std::string_view::npos) refuse(nul, "a NUL byte", "this is not a text file");
    bool line_start = true;
    while (at_ < text_.size() && !fault_) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == '"' || c == '\'') {
        skip_string(c);
        line_start = false;
      } else if (c == '[' && line_start && depth_ == 0) {
        check_header();
        line_start = false;
      } else {
        line_start = c == '\n' || (line_start && (is_blank(c) || c == '\r'));
        count(c);
        ++at_;
      }
    }
    return std::move(fault_);
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
    if (c == '[' || c == '{') ++depth_;
    if ((c == ']' || c == '}') && depth_ > 0) --depth_;
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

  void skip_string(char quote) {
    const std::string_view triple = quote == '"' ? "\"\"\"" : "'''";
    const bool lines = is_at(triple);
    at_ += lines ? 3 : 1;
    while (at_ < text_.size()) {
      if (!lines && text_[at_] == '\n') return;
      if (quote == '"' && text_[at_] == '\\') {
        at_ += 2;
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

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t dots_ = 0;   // since the key began
  std::size_t depth_ = 0;  // of open arrays and inline tables
  std::optional<SyntaxFault> fault_;
};

}  // namespace

std::optional<SyntaxFault> prescan(std::string_view text) { return Scanner(text).scan(); }

}  // namespace runmain::config
