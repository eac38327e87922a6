// Bytes of strangers made harmless for a terminal.
//
// What is kept: tab, printable ASCII, valid UTF-8 (Unicode 15, table 3-7) without C1 controls (U+0080 to
// U+009F) and without the bidirectional overrides and isolates (U+202A to U+202E, U+2066 to U+2069). Colour
// sequences (SGR of ECMA-48: ESC [ digits ; : m) are kept or taken out; every other byte is shown as \x1b.
// Invariant: the result is valid UTF-8 in one line; a terminal that prints it moves only forward on its line.
// Non-goal: reversibility (a backslash stays a backslash), and the width of characters.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace runmain {

// A longer SGR sequence is shown, not kept.
inline constexpr std::size_t kColourSequenceMax = 64;

// Appends `bytes` to `out`. Carriage returns at the end are dropped, and of what is before the last other one
// nothing is kept: a progress bar shows its last state. A newline inside is shown as \x0a. Returns true if a
// colour sequence was kept, so that the caller can end the line with a reset. At most four bytes a byte. Any
// thread.
bool append_printable(std::string& out, std::string_view bytes, bool keep_colour);

// The same as a value.
std::string printable(std::string_view bytes, bool keep_colour);

// The length of the valid, harmless UTF-8 character at the start of `bytes`; 0 if there is none (or it is
// ASCII).
std::size_t harmless_utf8(std::string_view bytes);

}  // namespace runmain
