#include "config/toml_reader.hpp"

#include <algorithm>

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

}  // namespace

std::variant<Node, SyntaxFault> read_toml(std::string_view text) {
  if (auto refused = prescan(text)) return *refused;
  const toml::parse_result parsed = toml::parse(text, std::string_view());
  if (!parsed) return fault_of(parsed.error());
  return convert(parsed.table());
}

}  // namespace runmain::config
