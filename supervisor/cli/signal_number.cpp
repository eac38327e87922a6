#include "cli/signal_number.hpp"

#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstring>

namespace runmain::cli {

int signal_number(const std::string& text) {
  const bool digits =
      !text.empty() && text.size() < 4 &&
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  if (digits) {
    const int number = std::stoi(text);
    return number <= SIGRTMAX ? number : 0;
  }
  std::string name = text;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int number = 1; number < NSIG; ++number) {
    const char* known = sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  return 0;
}

std::vector<std::string> signal_names() {
  std::vector<std::string> names;
  for (int number = 1; number < NSIG; ++number) {
    const char* known = sigabbrev_np(number);
    if (known != nullptr) names.emplace_back(known);
  }
  return names;
}

}  // namespace runmain::cli
