#include "drive/keys.hpp"

#include <string>

#include "support/catch.hpp"

using namespace runmain;
using drive::KeyAction;
using drive::Keys;

namespace {

// What keys did, as text: "restart", "type 'x'".
struct Typist {
  std::optional<Keys::Owner> owner;
  std::optional<ChildKey> anyone;
  std::string did;
  int asked = 0;
  Time now{};
  Keys keys{{[this] { return ++asked, owner; }, [this] { return anyone; },
             [this](const ChildKey&, std::string_view bytes) { did += "type '" + std::string(bytes) + "' "; },
             [this](KeyAction action) {
               static constexpr const char* kNames[] = {"restart", "pause", "clear",
                                                        "quit",    "help",  "suspend"};
               did += std::string(kNames[static_cast<int>(action)]) + " ";
             }}};
  std::string after(std::string_view bytes) {
    did.clear();
    keys.bytes(bytes, now);
    return did;
  }
};

}  // namespace

TEST_CASE("keys that nobody wants are ours; what is no key of ours does nothing") {
  Typist t;
  CHECK(t.after("r") == "restart ");
  CHECK(t.after("pc?\x1a") == "pause clear help suspend ");
  CHECK(t.after("q\x03") == "quit quit ");
  CHECK(t.after("xRZ \r\n") == "");
}

TEST_CASE("arrows, function keys and pastes press no letter") {
  Typist t;
  CHECK(t.after("\x1b[A") == "");
  CHECK(t.after("\x1b[1;2q") == "");
  CHECK(t.after("\x1bOr") == "");
  CHECK(t.after("\x1bq") == "");
  CHECK(t.after("\x1b[1;2qr") == "restart ");
  CHECK(t.after("\x1b[1;") == "");
  CHECK(t.after("\x1b") == "");
  CHECK(t.after("quit quit") == "");
}

TEST_CASE("the rest of a paste is his whose its beginning was, for a while, and Ctrl-] behind it is ours") {
  const std::string piece(drive::kPastePiece, 'x');
  Typist t;
  t.owner = Keys::Owner{};
  t.after(piece);
  t.owner.reset();  // it looks away
  t.now += drive::kPasteGap;
  CHECK(t.after("r and more") == "type 'r and more' ");
  t.now += drive::kPasteGap;
  CHECK(t.after("q") == "type 'q' ");
  CHECK(t.after("\x1d?") == "help ");
  CHECK(t.after("r") == "restart ");
  t.owner = Keys::Owner{};
  t.after(piece);
  t.owner.reset();
  t.now += drive::kPasteGap + Duration(1);
  CHECK(t.after("r") == "restart ");
}

TEST_CASE("the short end of a paste that nobody wanted presses no key") {
  Typist t;
  CHECK(t.after(std::string(drive::kPastePiece, 'x')) == "");
  CHECK(t.after("q") == "");
  t.now += drive::kPasteGap + Duration(1);
  CHECK(t.after("q") == "quit ");
}

TEST_CASE("a marked paste is one owner's up to its end mark, with every Ctrl-] in it") {
  Typist t;
  t.owner = Keys::Owner{};
  CHECK(t.after("a\x1b[200~r\x1dq") == "type 'a' type '\x1b[200~r\x1dq' ");
  t.owner.reset();
  t.now += drive::kMarkedPasteGap;
  CHECK(t.after("\x1dq") == "type '\x1dq' ");
  CHECK(t.after("x\x1b[20") == "type 'x\x1b[20' ");
  CHECK(t.after("1~r") == "type '1~' restart ");
  CHECK(t.after("\x1b[200~q") == "");  // nobody's
  CHECK(t.after("q\x1b[201~p") == "pause ");
  t.after("\x1b[200~");
  t.now += drive::kMarkedPasteGap + Duration(1);  // the end was lost
  CHECK(t.after("q") == "quit ");
}

TEST_CASE("who wants keys gets all that was typed at once, and is asked for once") {
  Typist t;
  t.owner = Keys::Owner{};
  CHECK(t.after("quit, please\r") == "type 'quit, please\r' ");
  CHECK(t.asked == 1);
  CHECK(t.after("\x1a") == "suspend ");  // where it would be a signal that stops for ever
  t.owner->signals = false;
  CHECK(t.after("\x1a") == "type '\x1a' ");
}

TEST_CASE("Ctrl-] means us, whoever wants keys, also when its key comes later; twice it is a Ctrl-]") {
  Typist t;
  t.owner = Keys::Owner{};
  t.anyone = ChildKey{};
  CHECK(t.after("a\x1dr"
                "b") == "type 'a' restart type 'b' ");
  CHECK(t.after("\x1d") == "");
  CHECK(t.after("q") == "quit ");
  CHECK(t.after("\x1d\x1d") == "type '\x1d' ");
}

TEST_CASE("Ctrl-] i types one line to a child that does not seem to want it") {
  Typist t;
  CHECK(t.after("\x1dir") == "restart ");  // there is none
  t.anyone = ChildKey{};
  CHECK(t.after("\x1dirq\rp") == "type 'rq\r' pause ");
}

TEST_CASE("Ctrl-C is the child's that wants keys, else ours; after Ctrl-] always ours") {
  Typist t;
  CHECK_FALSE(t.keys.interrupt('\x03'));
  t.owner = Keys::Owner{};
  CHECK(t.keys.interrupt('\x03'));
  CHECK(t.did == "type '\x03' ");
  t.after("\x1d");
  CHECK_FALSE(t.keys.interrupt('\x03'));
  CHECK(t.keys.interrupt('\x03'));
  t.owner->stands = false;  // a server that also listens to its terminal
  CHECK_FALSE(t.keys.interrupt('\x03'));
}
