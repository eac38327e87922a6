#include "config/words.hpp"

namespace runmain::config {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool starts_variable(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '{' || c == '(';
}

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  Words split() {
    while (at_ < text_.size() && !out_.fault) {
      if (is_blank(text_[at_])) {
        end_word();
        ++at_;
      } else {
        take();
      }
    }
    if (!out_.fault) end_word();
    return std::move(out_);
  }

 private:
  char next() const { return at_ + 1 < text_.size() ? text_[at_ + 1] : '\0'; }

  void end_word() {
    if (!in_word_) return;
    if (out_.words.size() >= kWordsMax) {
      out_.fault = WordFault{"more than " + std::to_string(kWordsMax) + " words", "", at_};
      return;
    }
    out_.words.push_back(std::move(word_));
    word_.clear();
    in_word_ = false;
  }

  void take() {
    const bool first = !in_word_;
    const char c = text_[at_];
    in_word_ = true;
    if (c == '\'') {
      take_single();
    } else if (c == '"') {
      take_double();
    } else if (c == '\\') {
      take_backslash();
    } else {
      note_sign(c, first);
      word_ += text_[at_++];
    }
  }

  void take_single() {
    const std::size_t end = text_.find('\'', at_ + 1);
    if (end == std::string_view::npos) return unclosed('\'');
    word_ += text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
  }

  void take_double() {
    const std::size_t open = at_;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      const char c = text_[at_];
      if (c == '\\' && (next() == '"' || next() == '\\' || next() == '$' || next() == '`')) {
        word_ += text_[++at_];
      } else if (c == '\\' && next() == '\n') {
        ++at_;
      } else {
        if (c == '`' || (c == '$' && starts_variable(next()))) note_sign(c, false);
        word_ += c;
      }
    }
    if (at_ < text_.size()) {
      ++at_;
    } else {
      at_ = open;
      unclosed('"');
    }
  }

  void take_backslash() {
    if (at_ + 1 >= text_.size()) {
      out_.fault = WordFault{"a backslash at the end of the command", "double it, or quote it", at_};
      return;
    }
    if (next() != '\n') word_ += next();
    at_ += 2;
  }

  void unclosed(char quote) {
    out_.fault =
        WordFault{std::string("this ") + quote + " is never closed", std::string("add ") + quote, at_};
  }

  void note_sign(char c, bool first_of_word) {
    if (c == '&' || c == '|' || c == ';' || c == '<' || c == '>' || c == '(' || c == ')' || c == '`') {
      const bool twice =
          at_ > 0 && text_[at_ - 1] == c && !out_.signs.empty() && out_.signs.back().offset + 1 == at_;
      if (twice) {
        out_.signs.back().text += c;
      } else {
        add_sign(std::string(1, c), true);
      }
    } else if (c == '$' && starts_variable(next())) {
      add_sign(next() == '(' ? "$(" : "$", next() == '(');
    } else if (c == '*' || (c == '~' && first_of_word)) {
      add_sign(std::string(1, c), false);
    }
  }

  void add_sign(std::string text, bool is_operator) {
    if (out_.signs.size() < kWordsMax) out_.signs.push_back(ShellSign{std::move(text), at_, is_operator});
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string word_;
  bool in_word_ = false;
  Words out_;
};

}  // namespace

Words split_words(std::string_view command) { return Splitter(command).split(); }

}  // namespace runmain::config
