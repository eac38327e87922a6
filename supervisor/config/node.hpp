// The file as a plain tree: what toml_reader.cpp makes of the text, and all that the other files of this room
// see. Invariant: items of a table and of an array are in the file's order, each with its place. Non-goal:
// writing TOML.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace runmain::config {

// Both count from 1; the column counts code points. 0:0 means no place inside the file.
struct Place {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  friend auto operator<=>(const Place&, const Place&) = default;
};

enum class Kind : std::uint8_t { string, integer, real, boolean, date, array, table };

struct Node {
  Kind kind = Kind::table;
  Place place;
  std::string key;  // in a table; empty in an array
  Place key_place;
  std::string text;  // string
  std::int64_t integer = 0;
  double real = 0;
  bool boolean = false;
  bool octal = false;       // the integer was written 0o…
  std::vector<Node> items;  // array, table
};

// "a string", "an array" …
constexpr const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::string: return "a string";
    case Kind::integer: return "an integer";
    case Kind::real: return "a float";
    case Kind::boolean: return "a boolean";
    case Kind::date: return "a date or time";
    case Kind::array: return "an array";
    case Kind::table: return "a table";
  }
  return "a value";
}

}  // namespace runmain::config
