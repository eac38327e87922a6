#include "base/env_file.hpp"

#include <unordered_map>

namespace runmain {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool starts_name(char c) { return c == '_' || is_letter(c); }
bool is_name_char(char c) { return starts_name(c) || (c >= '0' && c <= '9') || c == '.' || c == '-'; }

class Reader {
 public:
  Reader(std::string_view text, const std::string& file_name) : text_(text), file_name_(file_name) {}

  EnvFile read() {
    while (at_ < text_.size()) read_line();
    return std::move(out_);
  }

 private:
  bool at_end_of_line() const { return at_ >= text_.size() || text_[at_] == '\n'; }
  void skip_blanks() {
    while (!at_end_of_line() && is_blank(text_[at_])) ++at_;
  }
  void next_line() {
    while (!at_end_of_line()) ++at_;
    if (at_ < text_.size()) ++at_;
    ++line_;
    line_start_ = at_;
  }
  void fault(std::size_t place, std::string message, std::string hint) {
    if (out_.faults.size() >= kEnvFileFaultsMax) return;
    const std::string at =
        file_name_ + ":" + std::to_string(line_) + ":" + std::to_string(place - line_start_ + 1);
    out_.faults.push_back(Error{std::move(message), at, std::move(hint)});
  }

  void read_line() {
    skip_blanks();
    if (!at_end_of_line() && text_[at_] != '#') read_assignment();
    next_line();
  }

  void read_assignment() {
    std::size_t begin = at_;
    std::string_view name = read_name();
    skip_blanks();
    if (name == "export" && !at_end_of_line() && text_[at_] != '=') {
      begin = at_;
      name = read_name();
      skip_blanks();
    }
    if (name.empty() || !starts_name(name.front())) {
      fault(begin, "a name is expected here", "write NAME=value; names are letters, digits and _");
      return;
    }
    if (at_end_of_line() || text_[at_] != '=') {
      fault(at_, "no \"=\" after the name " + std::string(name), "write NAME=value, or # for a comment");
      return;
    }
    ++at_;
    skip_blanks();
    std::string value;
    if (read_value(value)) store(begin, name, std::move(value));
  }

  std::string_view read_name() {
    const std::size_t begin = at_;
    while (!at_end_of_line() && is_name_char(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  bool read_value(std::string& value) {
    const std::size_t begin = at_;
    if (at_end_of_line()) return true;
    const char quote = text_[at_];
    if (quote == '"' || quote == '\'') {
      if (!read_quoted(quote, value)) return false;
    } else {
      read_plain(value);
    }
    if (value.find('\0') == std::string::npos) return true;
    fault(begin >= line_start_ ? begin : line_start_, "the value holds a NUL byte",
          "an environment cannot carry it");
    return false;
  }

  void read_plain(std::string& value) {
    const std::size_t begin = at_;
    while (!at_end_of_line()) {
      if (text_[at_] == '#' && (at_ == begin || is_blank(text_[at_ - 1]))) break;
      ++at_;
    }
    std::size_t end = at_;
    while (end > begin && is_blank(text_[end - 1])) --end;
    value.assign(text_.substr(begin, end - begin));
  }

  bool read_quoted(char quote, std::string& value) {
    const std::size_t open = at_;
    std::size_t end = open + 1;
    while (end < text_.size() && text_[end] != quote) end += quote == '"' && text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) {
      fault(open, std::string("this ") + quote + " is never closed", std::string("add ") + quote);
      at_ = text_.size();
      return false;
    }
    for (at_ = open + 1; at_ < end; ++at_) take_quoted(quote, value);
    ++at_;
    skip_blanks();
    if (at_end_of_line() || text_[at_] == '#') return true;
    fault(at_, "text after the closing quote", "put the whole value into the quotes");
    return false;
  }

  // One character of a quoted value; counts the lines that it runs over.
  void take_quoted(char quote, std::string& value) {
    const char c = text_[at_];
    if (c == '\n') {
      ++line_;
      line_start_ = at_ + 1;
    }
    if (c == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n') return;
    if (quote != '"' || c != '\\') {
      value.push_back(c);
      return;
    }
    const char next = text_[at_ + 1];
    switch (next) {
      case 'n': value.push_back('\n'); break;
      case 'r': value.push_back('\r'); break;
      case 't': value.push_back('\t'); break;
      case '"':
      case '\\':
      case '$': value.push_back(next); break;
      default: value.push_back(c); return;
    }
    ++at_;
  }

  void store(std::size_t begin, std::string_view name, std::string value) {
    const auto [known, is_new] = index_.try_emplace(std::string(name), out_.variables.size());
    if (!is_new) {
      out_.variables[known->second].second = std::move(value);
      return;
    }
    if (out_.variables.size() >= kEnvFileVariablesMax) {
      index_.erase(known);
      fault(begin >= line_start_ ? begin : line_start_,
            "more than " + std::to_string(kEnvFileVariablesMax) + " variables", "");
      at_ = text_.size();
      return;
    }
    out_.variables.emplace_back(std::string(name), std::move(value));
  }

  std::string_view text_;
  const std::string& file_name_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  std::size_t line_start_ = 0;
  std::unordered_map<std::string, std::size_t> index_;
  EnvFile out_;
};

}  // namespace

EnvFile parse_env_file(std::string_view text, const std::string& file_name) {
  if (text.size() > kEnvFileMax) {
    EnvFile refused;
    refused.faults.push_back(
        Error{"the file is larger than " + std::to_string(kEnvFileMax) + " bytes", file_name, {}});
    return refused;
  }
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  return Reader(text, file_name).read();
}

}  // namespace runmain
