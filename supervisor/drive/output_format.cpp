#include "drive/output_format.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "base/text.hpp"

namespace runmain::drive {
namespace {

constexpr std::string_view kLine = " | ";
constexpr std::string_view kMore = " + ";
constexpr std::array kHelpers = {kBuildSlot, kHookSlot, kLookSlot, kProbeSlot};
constexpr std::string_view kReset = "\x1b[0m";
constexpr std::int64_t kSecond = 1'000'000'000;

// Colours of the 256-colour palette with a middle brightness: to be read on black and on white.
constexpr int kPalette[] = {31, 133, 64, 130, 99, 29, 161, 67};

// Takes a number off the front of `text`; false if there is none.
bool take_number(std::string_view& text, std::uint32_t& number) {
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault != std::errc{} || end == text.data()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool parse_stamp(std::string_view text, std::int64_t& time_ns) {
  tm parts{};
  int ms = 0;
  char zone = 0;
  const std::string copy(text);
  if (std::sscanf(copy.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d.%3d%c", &parts.tm_year, &parts.tm_mon,
                  &parts.tm_mday, &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &ms, &zone) != 8 ||
      zone != 'Z') {
    return false;
  }
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  time_ns = timegm(&parts) * kSecond + ms * 1'000'000LL;
  return true;
}

// What follows the service's name in a label: "", ".1", " build", each perhaps with ":GENERATION".
bool parse_label_rest(std::string_view rest, OutputLine& line) {
  const auto helper = std::find_if(kHelpers.begin(), kHelpers.end(), [rest](std::uint32_t slot) {
    return rest.starts_with(" ") && rest.substr(1).starts_with(helper_name(slot));
  });
  if (helper != kHelpers.end()) {
    line.build = *helper == kBuildSlot;
    line.slot = *helper;
    rest.remove_prefix(1 + std::strlen(helper_name(*helper)));
  } else if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    if (!take_number(rest, line.slot)) return false;
  }
  if (rest.starts_with(':')) {
    rest.remove_prefix(1);
    if (!take_number(rest, line.generation)) return false;
  }
  return rest.empty();
}

void put_line(OutputBuffer& file, std::string_view prefix, std::string_view text) {
  char* at = file.space(prefix.size() + text.size() + 1);
  std::memcpy(at, prefix.data(), prefix.size());
  at += prefix.size();
  std::memcpy(at, text.data(), text.size());
  at[text.size()] = '\n';
  file.grow(prefix.size() + text.size() + 1);
}

}  // namespace

std::string_view OutputStamp::text(std::int64_t time_ns) {
  const std::int64_t second = time_ns / kSecond;
  if (second != second_) {
    const std::time_t t = second;
    tm parts{};
    gmtime_r(&t, &parts);
    std::strftime(text_, sizeof text_, "%Y-%m-%dT%H:%M:%S.000Z", &parts);
    second_ = second;
  }
  const auto ms = static_cast<unsigned>(time_ns % kSecond / 1'000'000);
  text_[20] = static_cast<char>('0' + ms / 100);
  text_[21] = static_cast<char>('0' + ms / 10 % 10);
  text_[22] = static_cast<char>('0' + ms % 10);
  return {text_, kStampSize};
}

std::string output_label(std::string_view service_name, bool numbered, std::uint32_t slot) {
  std::string label(service_name.substr(0, kOutputLabelMax));
  if (const char* helper = helper_name(slot)) return label.append(" ").append(helper);
  if (numbered || slot > 0) label += "." + std::to_string(slot);
  return label;
}

std::optional<OutputLine> parse_output_line(std::string_view line, std::string_view service_name) {
  OutputLine out;
  out.service_name = service_name;
  service_name = service_name.substr(0, kOutputLabelMax);
  if (line.size() <= kStampSize || line[kStampSize] != ' ') return std::nullopt;
  if (!parse_stamp(line.substr(0, kStampSize), out.time_ns)) return std::nullopt;
  line.remove_prefix(kStampSize + 1);
  if (!line.starts_with(service_name)) return std::nullopt;
  const std::size_t at = std::min(line.find(kLine), line.find(kMore));
  if (at == std::string_view::npos || at < service_name.size()) return std::nullopt;
  if (!parse_label_rest(line.substr(service_name.size(), at - service_name.size()), out)) return std::nullopt;
  out.continues = line.substr(at, kMore.size()) == kMore;
  out.text = line.substr(at + kLine.size());
  return out;
}

OutputPrefix file_prefix(std::string_view stamp, std::string_view label) {
  std::string start;
  start.append(stamp).append(" ").append(label);
  OutputPrefix prefix{start, start};
  prefix.start.append(kLine);
  prefix.more.append(kMore);
  return prefix;
}

OutputPrefix terminal_prefix(std::string_view label, std::size_t width, bool colour,
                             std::uint32_t colour_number) {
  std::string start;
  if (colour) start = "\x1b[38;5;" + std::to_string(kPalette[colour_number % std::size(kPalette)]) + "m";
  start.append(label);
  if (label.size() < width) start.append(width - label.size(), ' ');
  OutputPrefix prefix{start + " |", start + " +"};
  for (std::string* text : {&prefix.start, &prefix.more}) {
    if (colour) text->append(kReset);
    text->push_back(' ');
  }
  return prefix;
}

std::string_view without_returns(std::string_view line) {
  while (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

OutputBatch format_output(const OutputPlan& plan, OutputBuffer& file, std::string& terminal) {
  OutputSplitter splitter(plan.bytes, plan.in_line, plan.ended);
  OutputBatch batch{0, plan.in_line, false};
  const std::size_t file_full = file.size() + std::min(file.room(), plan.file_room);
  OutputPiece piece;
  while (splitter.taken() < plan.stop_at && splitter.next(piece)) {
    if (plan.pty) piece.text = without_returns(piece.text);
    const std::string& prefix = piece.continues ? plan.file->more : plan.file->start;
    const std::size_t need = prefix.size() + piece.text.size() + 1;
    const bool first = batch.taken == 0 && plan.at_least_one;
    const bool terminal_full = terminal.size() + kTerminalLineMax > plan.terminal_room;
    if ((file.size() + need > file_full && !first) || (plan.terminal != nullptr && terminal_full)) {
      batch.more_waits = true;
      break;
    }
    put_line(file, prefix, piece.text);
    const bool goes_on = batch.taken == 0 && plan.terminal_has > 0;
    batch.taken = splitter.taken();
    batch.in_line = splitter.in_line();
    if (plan.terminal == nullptr) continue;
    if (goes_on) {
      piece.text.remove_prefix(std::min(plan.terminal_has, piece.text.size()));
    } else {
      terminal.append(piece.continues ? plan.terminal->more : plan.terminal->start);
    }
    if (append_printable(terminal, piece.text, plan.terminal_colour)) terminal.append(kReset);
    terminal.push_back('\n');
  }
  return batch;
}

}  // namespace runmain::drive
