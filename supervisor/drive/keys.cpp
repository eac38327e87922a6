#include "drive/keys.hpp"

#include <algorithm>
#include <utility>

namespace runmain::drive {
namespace {

constexpr char kEscape = '\x1d';   // Ctrl-]
constexpr char kSuspend = '\x1a';  // Ctrl-Z

// Takes an arrow, a function key and their like (ECMA-48: CSI and SS3) off the front: the letters in it were
// not pressed.
void skip_sequence(std::string_view& bytes) {
  std::size_t size = std::min<std::size_t>(2, bytes.size());
  if (size == 2 && bytes[1] == 'O') size = 3;
  if (size == 2 && bytes[1] == '[') {
    const auto last =
        std::find_if(bytes.begin() + 2, bytes.end(), [](char c) { return c >= '@' && c <= '~'; });
    size = static_cast<std::size_t>(last - bytes.begin()) + 1;
  }
  bytes.remove_prefix(std::min(size, bytes.size()));
}

}  // namespace

void Keys::bytes(std::string_view bytes) {
  while (!bytes.empty()) {
    if (line_) {
      type_line(bytes);
    } else if (escaped_) {
      escaped_ = false;
      command(bytes.front());
      bytes.remove_prefix(1);
    } else if (bytes.front() == kEscape) {
      escaped_ = true;
      bytes.remove_prefix(1);
    } else {
      const std::size_t until = std::min(bytes.find(kEscape), bytes.size());
      pressed(bytes.substr(0, until));
      bytes.remove_prefix(until);
    }
  }
}

void Keys::type_line(std::string_view& bytes) {
  const std::size_t end = bytes.find_first_of("\r\n");
  const std::size_t size = end == std::string_view::npos ? bytes.size() : end + 1;
  if (const auto key = to_.anyone()) to_.type(*key, bytes.substr(0, size));
  line_ = end == std::string_view::npos;
  bytes.remove_prefix(size);
}

void Keys::pressed(std::string_view bytes) {
  if (const auto owner = to_.owner()) {
    if (bytes.size() == 1 && bytes.front() == kSuspend && owner->signals) return command(kSuspend);
    return to_.type(owner->key, bytes);
  }
  if (bytes.size() > kPasteMin) return;
  while (!bytes.empty()) {
    if (bytes.front() == '\x1b') {
      skip_sequence(bytes);
      continue;
    }
    command(bytes.front());
    bytes.remove_prefix(1);
  }
}

void Keys::command(char byte) {
  switch (byte) {
    case 'r': return to_.act(KeyAction::restart);
    case 'p': return to_.act(KeyAction::pause);
    case 'c': return to_.act(KeyAction::clear);
    case 'q':
    case '\x03': return to_.act(KeyAction::quit);
    case '?':
    case 'h': return to_.act(KeyAction::help);
    case kSuspend: return to_.act(KeyAction::suspend);
    case 'i': line_ = to_.anyone().has_value(); return;
    case kEscape:
      if (const auto key = to_.anyone()) to_.type(*key, std::string_view(&kEscape, 1));
      return;
    default: return;
  }
}

bool Keys::interrupt(char byte) {
  line_ = false;
  if (std::exchange(escaped_, false)) return false;
  const auto owner = to_.owner();
  if (owner) to_.type(owner->key, std::string_view(&byte, 1));
  return owner.has_value();
}

}  // namespace runmain::drive
