#include "drive/watch_glob.hpp"

#include <algorithm>
#include <cctype>

namespace runmain::drive {
namespace {

struct NamedClass {
  std::string_view name;
  int (*test)(int);
};
constexpr NamedClass kClasses[] = {
    {"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl},
    {"digit", isdigit}, {"graph", isgraph}, {"lower", islower}, {"print", isprint},
    {"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit},
};

// Adds the members of [:name:]; false for a name that is none.
bool add_class(std::string_view name, std::bitset<256>& set) {
  const auto* found = std::find_if(std::begin(kClasses), std::end(kClasses),
                                   [&](const NamedClass& c) { return c.name == name; });
  if (found == std::end(kClasses)) return false;
  for (int byte = 0; byte < 128; ++byte) {
    if (found->test(byte) != 0) set.set(static_cast<std::size_t>(byte));
  }
  return true;
}

}  // namespace

Glob::Glob(std::string_view pattern) {
  compile(pattern);
  const auto is_literal = [](const Token& t) { return t.kind == Kind::literal; };
  const bool star_first = !tokens_.empty() && tokens_.front().kind == Kind::star;
  if (!std::all_of(tokens_.begin() + (star_first ? 1 : 0), tokens_.end(), is_literal)) return;
  plain_ = !star_first;
  suffix_ = star_first;
  for (const Token& t : tokens_) {
    if (t.kind == Kind::literal) literal_.push_back(t.byte);
  }
}

void Glob::compile(std::string_view pattern) {
  for (std::size_t at = 0; at < pattern.size() && valid_;) {
    const char c = pattern[at];
    if (c == '*') {
      at = compile_star(pattern, at);
    } else if (c == '[') {
      at = compile_set(pattern, at + 1);
    } else if (c == '?') {
      tokens_.push_back({Kind::any});
      ++at;
    } else {
      if (c == '\\') ++at;
      valid_ = at < pattern.size();
      if (valid_) tokens_.push_back({Kind::literal, pattern[at]});
      ++at;
    }
  }
}

// `**` is special only as a whole part of the path; elsewhere it is a star. More stars are two, as git has it.
std::size_t Glob::compile_star(std::string_view pattern, std::size_t at) {
  std::size_t end = at;
  while (end < pattern.size() && pattern[end] == '*') ++end;
  const bool starts_part = at == 0 || pattern[at - 1] == '/';
  if (end - at >= 2 && starts_part && end == pattern.size()) {
    tokens_.push_back({Kind::rest});
    return end;
  }
  if (end - at >= 2 && starts_part && pattern[end] == '/') {
    tokens_.push_back({Kind::folders});
    tokens_.push_back({Kind::folders_body});
    return end + 1;
  }
  tokens_.push_back({Kind::star});
  return end;
}

// `at` is behind the bracket. A ']' that comes first is a member; '/' is never one.
std::size_t Glob::compile_set(std::string_view pattern, std::size_t at) {
  std::bitset<256> set;
  const bool negated = at < pattern.size() && (pattern[at] == '!' || pattern[at] == '^');
  if (negated) ++at;
  const auto byte_at = [&](std::size_t& i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
    return static_cast<unsigned char>(pattern[i++]);
  };
  for (bool first = true; at < pattern.size() && (first || pattern[at] != ']'); first = false) {
    if (pattern.substr(at, 2) == "[:") {
      const std::size_t end = pattern.find(":]", at + 2);
      if (end != std::string_view::npos) {
        if (!add_class(pattern.substr(at + 2, end - at - 2), set)) valid_ = false;
        at = end + 2;
        continue;
      }
    }
    const unsigned low = byte_at(at);
    unsigned high = low;
    if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') high = byte_at(++at);
    for (unsigned byte = low; byte <= high; ++byte) set.set(byte);
  }
  if (at >= pattern.size()) valid_ = false;
  if (negated) set.flip();
  set.reset('/');
  tokens_.push_back({Kind::set, 0, sets_.size()});
  sets_.push_back(set);
  return at + 1;
}

// Marks a state and those that are reached from it without a byte.
void Glob::enter(States& states, std::size_t state) const {
  while (!states.test(state)) {
    states.set(state);
    if (state == tokens_.size()) return;
    if (tokens_[state].kind == Kind::folders) {
      enter(states, state + 1);
      state += 2;
    } else if (tokens_[state].kind == Kind::star) {
      ++state;
    } else {
      return;
    }
  }
}

bool Glob::run(std::string_view text) const {
  States now;
  enter(now, 0);
  for (const char c : text) {
    States next;
    for (std::size_t s = now._Find_first(); s < tokens_.size(); s = now._Find_next(s)) {
      const Token& t = tokens_[s];
      switch (t.kind) {
        case Kind::literal:
          if (c == t.byte) enter(next, s + 1);
          break;
        case Kind::any:
          if (c != '/') enter(next, s + 1);
          break;
        case Kind::set:
          if (sets_[t.set].test(static_cast<unsigned char>(c))) enter(next, s + 1);
          break;
        case Kind::star:
          if (c != '/') enter(next, s);
          break;
        case Kind::folders: break;
        case Kind::folders_body:
          next.set(s);
          if (c == '/') enter(next, s + 1);
          break;
        case Kind::rest:
          next.set(s);
          enter(next, s + 1);
          break;
      }
    }
    now = next;
    if (now.none()) return false;
  }
  return now.test(tokens_.size());
}

bool Glob::matches(std::string_view text) const {
  if (!valid_) return false;
  if (plain_) return text == literal_;
  if (suffix_) {
    if (text.size() < literal_.size() || text.substr(text.size() - literal_.size()) != literal_) return false;
    return text.substr(0, text.size() - literal_.size()).find('/') == std::string_view::npos;
  }
  return run(text);
}

}  // namespace runmain::drive
