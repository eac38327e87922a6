#include "cli/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "base/text.hpp"

namespace runmain::cli {
namespace {

bool wants_colour(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  if (no_color != nullptr && *no_color != '\0') return false;
  if (term != nullptr && std::string_view(term) == "dumb") return false;
  return isatty(fd) == 1;
}

std::size_t width_of(int fd) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

const char* code_of(Style style) {
  switch (style) {
    case Style::plain: return "";
    case Style::bold: return "1";
    case Style::dim: return "2";
    case Style::red: return "31";
    case Style::green: return "32";
    case Style::yellow: return "33";
    case Style::blue: return "34";
    case Style::magenta: return "35";
    case Style::cyan: return "36";
  }
  return "";
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U; }

}  // namespace

Terminal Terminal::of_process() {
  return {std::cout, std::cerr, wants_colour(STDOUT_FILENO), wants_colour(STDERR_FILENO),
          width_of(STDOUT_FILENO)};
}

std::string styled(std::string_view text, Style style, bool colour) {
  if (!colour || style == Style::plain) return std::string(text);
  return "\x1b[" + std::string(code_of(style)) + "m" + std::string(text) + "\x1b[0m";
}

void complain(Terminal& terminal, const Error& error) {
  terminal.err << styled("runmain:", Style::red, terminal.colour_err) << ' ';
  if (!error.at.empty()) terminal.err << harmless(error.at) << ": ";
  for (std::size_t at = 0; at <= error.message.size();) {  // a report of faults has several lines
    const std::size_t end = std::min(error.message.find('\n', at), error.message.size());
    if (at == 0 || end > at) terminal.err << harmless(error.message.substr(at, end - at)) << '\n';
    at = end + 1;
  }
  if (!error.hint.empty())
    terminal.err << styled("  hint: ", Style::dim, terminal.colour_err) << harmless(error.hint) << '\n';
  terminal.err.flush();
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  for (const char c : text) columns += is_continuation(c) ? 0 : 1;
  return columns;
}

std::string cut_to(const std::string& text, std::size_t width) {
  if (width == 0 || columns_of(text) <= width) return text;
  std::size_t columns = 0;
  std::size_t end = 0;
  while (end < text.size()) {
    if (!is_continuation(text[end]) && ++columns == width) break;
    ++end;
  }
  return text.substr(0, end) + "…";
}

std::string harmless(std::string_view text) { return printable(text, false); }

std::string in_one_line(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    if (c == '\r') {
      shown += "\\x0d";
    } else {
      shown += c == '\t' ? ' ' : c;
    }
  }
  return harmless(shown);
}

std::string wrapped(const std::string& sentence, const std::string& first, std::size_t width) {
  const std::string in(columns_of(first), ' ');
  std::string out = first;
  std::size_t column = columns_of(first);
  bool begins = true;
  for (std::size_t at = 0; at < sentence.size();) {
    const std::size_t end = std::min(sentence.find(' ', at), sentence.size());
    const std::string word = sentence.substr(at, end - at);
    if (!begins && width > 0 && column + 1 + columns_of(word) > width) {
      out += "\n" + in;
      column = in.size();
      begins = true;
    }
    out += (begins ? "" : " ") + word;
    column += columns_of(word) + (begins ? 0 : 1);
    begins = false;
    at = end + 1;
  }
  return out + "\n";
}

}  // namespace runmain::cli
