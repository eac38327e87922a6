// One glob in the syntax of gitignore(5): `*` and `?` match no slash, `**` between slashes any number of
// folders. Bytes, not characters; case matters.
//
// Invariant: a match takes time linear in the text for a given pattern, whatever the pattern is. Thread: one
// writer. Non-goal: negation, anchoring and what else a line of an ignore file says (watch_ignore does).
#pragma once

#include <bitset>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace runmain::drive {

inline constexpr std::size_t kGlobMax = 512;  // bytes of one pattern

// Compiled once into a small automaton that is run over the text without going back.
class Glob {
 public:
  // A pattern that cannot match anything (an open bracket, a lone backslash at its end) matches nothing.
  explicit Glob(std::string_view pattern);
  bool matches(std::string_view text) const;

 private:
  enum class Kind : unsigned char {
    literal,  // the byte `byte`
    any,      // one byte but '/'
    set,      // one byte of `set`
    star,     // bytes but '/', also none
    folders,  // nothing, or all up to some '/': two states
    folders_body,
    rest,  // one byte or more, also '/'
  };
  struct Token {
    Kind kind{};
    char byte = 0;
    std::size_t set = 0;  // index into sets_
  };
  static constexpr std::size_t kWords = (kGlobMax * 2 + 64) / 64;
  using States = std::bitset<kWords * 64>;

  void compile(std::string_view pattern);
  std::size_t compile_star(std::string_view pattern, std::size_t at);
  std::size_t compile_set(std::string_view pattern, std::size_t at);
  void enter(States& states, std::size_t state) const;
  bool run(std::string_view text) const;

  std::vector<Token> tokens_;
  std::vector<std::bitset<256>> sets_;
  std::string literal_;  // the whole pattern, or what follows a single star at its start
  bool valid_ = true;
  bool plain_ = false;   // no wildcard at all
  bool suffix_ = false;  // one star, then only bytes
};

}  // namespace runmain::drive
