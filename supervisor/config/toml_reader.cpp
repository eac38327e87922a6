#include "config/toml_reader.hpp"

#include <algorithm>
#include <cstdio>

#include "config/text.hpp"

// Without exceptions a parse gives a result; its assertions are about what prescan() has refused.
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 64
#define TOML_ASSERT(expr) static_cast<void>(0)
#include <toml++/toml.h>

namespace runmain::config {
namespace {

constexpr std::size_t kMessageMax = 300;  // code points; toml++ repeats what it saw

Place place_of(const toml::source_region& region) {
  return Place{static_cast<std::uint32_t>(region.begin.line),
               static_cast<std::uint32_t>(region.begin.column)};
}

void sort_by_place(std::vector<Node>& items) {
  std::stable_sort(items.begin(), items.end(),
                   [](const Node& a, const Node& b) { return a.key_place < b.key_place; });
}

// Recursive: toml++ and prescan() bound the depth.
Node convert(const toml::node& from) {
  Node out;
  out.place = place_of(from.source());
  if (const toml::table* table = from.as_table()) {
    out.kind = Kind::table;
    for (const auto& [key, value] : *table) {
      Node item = convert(value);
      item.key = std::string(key.str());
      item.key_place = place_of(key.source());
      out.items.push_back(std::move(item));
    }
    sort_by_place(out.items);
  } else if (const toml::array* array = from.as_array()) {
    out.kind = Kind::array;
    for (const toml::node& value : *array) out.items.push_back(convert(value));
  } else if (const auto* text = from.as_string()) {
    out.kind = Kind::string;
    out.text = text->get();
  } else if (const auto* integer = from.as_integer()) {
    out.kind = Kind::integer;
    out.integer = integer->get();
    out.octal = (integer->flags() & toml::value_flags::format_as_octal) != toml::value_flags::none;
  } else if (const auto* real = from.as_floating_point()) {
    out.kind = Kind::real;
    out.real = real->get();
  } else if (const auto* boolean = from.as_boolean()) {
    out.kind = Kind::boolean;
    out.boolean = boolean->get();
  } else {
    out.kind = Kind::date;
  }
  return out;
}

// "Error while parsing boolean: expected …" becomes "cannot read this boolean: expected …".
SyntaxFault fault_of(const toml::parse_error& error) {
  constexpr std::string_view kWhile = "Error while parsing ";
  std::string message(error.description());
  if (message.compare(0, kWhile.size(), kWhile) == 0)
    message = "cannot read this " + message.substr(kWhile.size());
  constexpr std::string_view kLimit = " (TOML_MAX_NESTED_VALUES)";
  if (const std::size_t at = message.find(kLimit); at != std::string::npos) message.erase(at, kLimit.size());
  std::string hint;
  if (message.find("could not determine value type") != std::string::npos) hint = "text needs quotes: \"…\"";
  return SyntaxFault{place_of(error.source()), harmless(message, kMessageMax), std::move(hint)};
}

// The character at `at` as \UXXXXXXXX; as it is if its bytes are no UTF-8, which toml++ then refuses.
std::string escaped(std::string_view text, std::size_t at) {
  const std::size_t length = utf8_length(text, at);
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};  // by length; below it is overlong
  std::uint32_t code = static_cast<unsigned char>(text[at]) & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i)
    code = code << 6U | (static_cast<unsigned char>(text[at + i]) & 0x3fU);
  if (length == 1 || code < kSmallest[length]) return std::string(text.substr(at, length));
  char digits[16];
  std::snprintf(digits, sizeof digits, "\\U%08X", code);
  return digits;
}

// Columns behind an escape move; such a character starts a line inside of a string, so hardly a fault can
// follow it.
std::string with_escapes(std::string_view text, const std::vector<std::size_t>& places) {
  std::string out;
  std::size_t done = 0;
  for (const std::size_t at : places) {
    out += text.substr(done, at - done);
    out += escaped(text, at);
    done = at + utf8_length(text, at);
  }
  return out += text.substr(done);
}

}  // namespace

std::variant<Node, SyntaxFault> read_toml(std::string_view text) {
  const auto scanned = prescan(text);
  if (const auto* fault = std::get_if<SyntaxFault>(&scanned)) return *fault;
  const auto& escapes = std::get<0>(scanned);
  const std::string changed = escapes.empty() ? std::string() : with_escapes(text, escapes);
  const toml::parse_result parsed =
      toml::parse(escapes.empty() ? text : std::string_view(changed), std::string_view());
  if (!parsed) return fault_of(parsed.error());
  return convert(parsed.table());
}

}  // namespace runmain::config
