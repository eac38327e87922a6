#include "cli/log_text.hpp"

#include <array>

#include "base/text.hpp"
#include "cli/terminal.hpp"

namespace runmain::cli {
namespace {

using control::flag_of;
using control::number_of;
using control::text_of;

Style colour_of(const std::string& service) {
  constexpr std::array<Style, 5> kPalette{Style::cyan, Style::green, Style::magenta, Style::blue,
                                          Style::yellow};
  unsigned sum = 0;
  for (const char c : service) sum = sum * 31 + static_cast<unsigned char>(c);
  return kPalette[sum % kPalette.size()];
}

}  // namespace

std::string log_text(const control::Json& item, bool colour) {
  if (item.contains("skipped")) {
    const std::string text =
        "… " + std::to_string(number_of(item, "skipped")) + " lines skipped, read too slowly …";
    return styled(text, Style::dim, colour) + "\n";
  }
  const std::string prefix = harmless(text_of(item, "label")) + (flag_of(item, "continues") ? " +" : " |");
  std::string line = styled(prefix, colour_of(text_of(item, "service")), colour) + " ";
  if (append_printable(line, text_of(item, "text"), colour)) line += "\x1b[0m";
  return line + "\n";
}

}  // namespace runmain::cli
