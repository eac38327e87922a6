// Whose is a key that is pressed, and what does it mean to us?
//
// There is no mode: whether a child wants it is asked at each press. Ctrl-] always means us: the key after it
// is ours whatever a child does, and a second Ctrl-] is a Ctrl-] for the child. More than kPasteMin bytes at
// once were not pressed: as keys they mean nothing. A paste comes in pieces, and its rest is his whose its
// beginning was, whatever he does meanwhile: to its end where the terminal marks it ("bracketed paste" of
// xterm), else as long as the next piece follows within kPasteGap. Thread: the loop's. Non-goal: carrying
// out.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.hpp"
#include "base/time.hpp"

namespace runmain::drive {

enum class KeyAction { restart, pause, clear, quit, help, suspend };

inline constexpr std::size_t kPasteMin = 8;
inline constexpr std::size_t kPastePiece = 256;  // so much at once: the rest may be on its way
inline constexpr Duration kPasteGap = std::chrono::milliseconds(200);
inline constexpr Duration kMarkedPasteGap = std::chrono::seconds(2);  // its end may have been lost

class Keys {
 public:
  struct Owner {
    ChildKey key;
    bool signals = true;  // Ctrl-Z is a signal to it, and nobody could wake it again: it is ours
    bool stands = true;   // it does nothing else; one that also works is not ended by Ctrl-C, runmain is
  };
  struct Callbacks {
    std::function<std::optional<Owner>()> owner;      // who wants what is typed now
    std::function<std::optional<ChildKey>()> anyone;  // who gets it if nobody wants it and it is not ours
    std::function<void(const ChildKey& key, std::string_view bytes)> type;
    std::function<void(KeyAction action)> act;
  };
  explicit Keys(Callbacks callbacks) : to_(std::move(callbacks)) {}

  void bytes(std::string_view bytes, Time now);
  // Ctrl-C, which comes as a signal. True: it was a child's and is typed to it as this byte.
  bool interrupt(char byte);

 private:
  struct Paste {
    std::optional<ChildKey> to;  // nobody's is thrown away
    bool marked = false;
    Time until{};
    std::string tail;  // the end mark may come in pieces, too
  };
  void go_on_pasting(std::string_view& bytes, Time now);
  void take_paste(std::string_view& bytes, Time now);
  void pressed(std::string_view bytes, Time now);
  void command(char byte);
  void type_line(std::string_view& bytes);

  Callbacks to_;
  std::optional<Paste> paste_;
  bool escaped_ = false;  // Ctrl-] was pressed
  bool line_ = false;     // Ctrl-] i: up to the end of the line all is a child's
};

}  // namespace runmain::drive
