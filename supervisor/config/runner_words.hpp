// Words of a command line, looked at without running anything: which program it is, and its flags.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runmain::config {

using Argv = std::vector<std::string>;

// The program behind wrappers and interpreters: `uv run python -u -m flask run` is "flask" at the word
// "flask".
struct Program {
  std::size_t at = 0;   // its word
  std::string name;     // without folder; of a script with its extension
  bool python = false;  // a script or module of Python
  std::string script;   // path of the script that an interpreter is given; empty for a module or a binary
};
// Nothing for no words.
std::optional<Program> find_program_word(const Argv& argv);

std::string base_name(std::string_view path);
// "python", "python3.12", "pypy3"
bool is_python_name(std::string_view name);
// "a b c" holds the word "b".
bool has_word(std::string_view list, std::string_view word);
std::vector<std::string_view> words_of(std::string_view list);

// The value of the last of these flags in [from, to): "-p 80", "-p80", "--port 80", "--port=80".
std::optional<std::string> flag_value(const Argv& argv, std::size_t from, std::size_t to,
                                      std::string_view flags);
// Takes flags out of [from, to) and says how many words went. A flag that ends in "=" takes what begins so.
std::size_t drop_flags(Argv& argv, std::size_t from, std::size_t to, std::string_view flags);
std::size_t drop_valued_flags(Argv& argv, std::size_t from, std::size_t to, std::string_view flags);

// One behind the first word from `from` on that is no flag and no flag's value; the size if there is none.
std::size_t end_of_own_words(const Argv& argv, std::size_t from);

bool is_number(std::string_view text);
// 1 to 65535.
std::optional<unsigned short> port_number(std::string_view text);

}  // namespace runmain::config
