#include "keeper/user_terminal.hpp"

#include <unistd.h>

#include <cstring>

namespace runmain::keeper {

void UserTerminal::remember() {
  if (!os::in_foreground(STDIN_FILENO)) return;
  const auto modes = os::terminal_modes(STDIN_FILENO);
  if (modes && (modes->c_lflag & ICANON) != 0) found_ = modes;
}

void UserTerminal::restore() const {
  if (!found_ || !os::in_foreground(STDIN_FILENO)) return;
  if (isatty(STDOUT_FILENO) == 0) return;  // a head leaves it alone then: another has set it, such as a pager
  const auto modes = os::terminal_modes(STDIN_FILENO);
  if (modes && (modes->c_lflag & ICANON) == 0) os::set_terminal_modes(STDIN_FILENO, *found_);
}

std::string UserTerminal::save() const {
  return found_ ? std::string(reinterpret_cast<const char*>(&*found_), sizeof *found_) : std::string();
}

void UserTerminal::restore(const std::string& saved) {
  if (saved.size() == sizeof(termios)) std::memcpy(&found_.emplace(), saved.data(), saved.size());
}

os::TerminalShape UserTerminal::shape() const {
  os::TerminalShape shape{found_, size()};
  // One that is found without echo has it by accident; a child without it is taken to ask for a password.
  if (shape.modes) shape.modes->c_lflag |= ICANON | ECHO | ISIG;
  return shape;
}

std::optional<winsize> UserTerminal::size() const {
  for (const int fd : {STDOUT_FILENO, STDIN_FILENO, STDERR_FILENO}) {
    if (const auto size = os::terminal_size(fd); size && size->ws_col > 0) return size;
  }
  return std::nullopt;
}

}  // namespace runmain::keeper
