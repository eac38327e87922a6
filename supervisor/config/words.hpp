// Splits a command by the word rules of the shell (POSIX.1-2017, Shell Command Language, 2.2 Quoting),
// without a shell: blanks part words, 'single' and "double" quotes and the backslash keep them together.
// Nothing is expanded. Invariant: the words are exactly what `sh -c` would pass, if `signs` is empty and
// there is no fault. Non-goal: running or expanding anything.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runmain::config {

inline constexpr std::size_t kWordsMax = 4096;

// Something that only a shell would act on. An operator ("&&", "|", ">") changes what is run; the others
// ("$HOME", "*", "~/") are passed on as they are written.
struct ShellSign {
  std::string text;
  std::size_t offset = 0;  // bytes into the command
  bool is_operator = false;
};

struct WordFault {
  std::string message;
  std::string hint;
  std::size_t offset = 0;  // bytes into the command
};

struct Words {
  std::vector<std::string> words;
  std::vector<ShellSign> signs;
  std::optional<WordFault> fault;  // then `words` is what came before it
};

// Any thread.
Words split_words(std::string_view command);

}  // namespace runmain::config
