#include "drive/keys.hpp"

#include <algorithm>
#include <utility>

namespace runmain::drive {
namespace {

constexpr char kEscape = '\x1d';   // Ctrl-]
constexpr char kSuspend = '\x1a';  // Ctrl-Z
constexpr std::string_view kPasteBegin = "\x1b[200~";
constexpr std::string_view kPasteEnd = "\x1b[201~";

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

void Keys::bytes(std::string_view bytes, Time now) {
  go_on_pasting(bytes, now);
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
    } else if (bytes.starts_with(kPasteBegin)) {
      const auto owner = to_.owner();
      paste_ = Paste{owner ? std::optional(owner->key) : std::nullopt, true, {}, {}};
      take_paste(bytes, now);
    } else {
      const std::size_t until = std::min({bytes.find(kEscape), bytes.find(kPasteBegin), bytes.size()});
      pressed(bytes.substr(0, until), now);
      bytes.remove_prefix(until);
    }
  }
}

// Ctrl-] right behind a paste is meant for us, if the terminal does not say that it belongs to it.
void Keys::go_on_pasting(std::string_view& bytes, Time now) {
  if (!paste_) return;
  const bool other = !paste_->marked && bytes.size() <= kPasteMin && bytes.starts_with(kEscape);
  if (other || now > paste_->until) return paste_.reset();
  take_paste(bytes, now);
}

void Keys::take_paste(std::string_view& bytes, Time now) {
  std::size_t size = bytes.size();
  bool ended = false;
  if (paste_->marked) {
    const std::size_t before = paste_->tail.size();
    const std::string text = paste_->tail + std::string(bytes);
    const std::size_t end = text.find(kPasteEnd);
    ended = end != std::string::npos;
    if (ended) size = end + kPasteEnd.size() - before;
    paste_->tail = text.substr(text.size() - std::min(text.size(), kPasteEnd.size() - 1));
  }
  if (paste_->marked || size > kPasteMin)
    paste_->until = now + (paste_->marked ? kMarkedPasteGap : kPasteGap);
  if (paste_->to) to_.type(*paste_->to, bytes.substr(0, size));
  bytes.remove_prefix(size);
  if (ended) paste_.reset();
}

void Keys::type_line(std::string_view& bytes) {
  const std::size_t end = bytes.find_first_of("\r\n");
  const std::size_t size = end == std::string_view::npos ? bytes.size() : end + 1;
  if (const auto key = to_.anyone()) to_.type(*key, bytes.substr(0, size));
  line_ = end == std::string_view::npos;
  bytes.remove_prefix(size);
}

void Keys::pressed(std::string_view bytes, Time now) {
  const auto owner = to_.owner();
  if (bytes.size() >= kPastePiece)
    paste_ = Paste{owner ? std::optional(owner->key) : std::nullopt, false, now + kPasteGap, {}};
  if (owner) {
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
  const bool theirs = owner && (owner->stands || !owner->signals);
  if (theirs) to_.type(owner->key, std::string_view(&byte, 1));
  return theirs;
}

}  // namespace runmain::drive
