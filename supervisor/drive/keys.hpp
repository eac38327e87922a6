// Whose is a key that is pressed, and what does it mean to us?
//
// There is no mode: whether a child wants it is asked at each press. Ctrl-] always means us: the key after it
// is ours whatever a child does, and a second Ctrl-] is a Ctrl-] for the child. More than kPasteMin bytes at
// once were not pressed: as keys they mean nothing. Thread: the loop's. Non-goal: carrying out.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string_view>

#include "base/ids.hpp"

namespace runmain::drive {

enum class KeyAction { restart, pause, clear, quit, help, suspend };

inline constexpr std::size_t kPasteMin = 8;

class Keys {
 public:
  struct Owner {
    ChildKey key;
    bool signals = true;  // Ctrl-Z is a signal to it, and nobody could wake it again: it is ours
  };
  struct Callbacks {
    std::function<std::optional<Owner>()> owner;      // who wants what is typed now
    std::function<std::optional<ChildKey>()> anyone;  // who gets it if nobody wants it and it is not ours
    std::function<void(const ChildKey& key, std::string_view bytes)> type;
    std::function<void(KeyAction action)> act;
  };
  explicit Keys(Callbacks callbacks) : to_(std::move(callbacks)) {}

  void bytes(std::string_view bytes);
  // Ctrl-C, which comes as a signal. True: it was a child's and is typed to it as this byte.
  bool interrupt(char byte);

 private:
  void pressed(std::string_view bytes);
  void command(char byte);
  void type_line(std::string_view& bytes);

  Callbacks to_;
  bool escaped_ = false;  // Ctrl-] was pressed
  bool line_ = false;     // Ctrl-] i: up to the end of the line all is a child's
};

}  // namespace runmain::drive
