#include "config/table.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "config/text.hpp"
#include "config/values.hpp"

namespace runmain::config {

const Node* Table::find(const std::string& key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
  for (const Node& item : node_.items) {
    if (item.key == key) return &item;
  }
  return nullptr;
}

void Table::read(const std::string& key, bool& out) {
  const Node* value = find(key);
  if (value == nullptr) return;
  if (value->kind == Kind::boolean) {
    out = value->boolean;
  } else {
    report_.wrong_type(*value, name(key), "true or false");
  }
}

void Table::read(const std::string& key, Duration& out) {
  if (const Node* value = find(key)) read_duration(report_, *value, name(key), out);
}

void Table::read_integer(const std::string& key, std::int64_t min, std::int64_t max, std::uint32_t& out) {
  const Node* value = find(key);
  std::int64_t number = 0;
  if (value != nullptr && config::read_integer(report_, *value, name(key), min, max, number)) {
    out = static_cast<std::uint32_t>(number);
  }
}

void Table::read_percent(const std::string& key, double min, double max, std::uint32_t& out) {
  const Node* value = find(key);
  if (value == nullptr) return;
  if (value->kind != Kind::real && value->kind != Kind::integer) {
    report_.wrong_type(*value, name(key), "a number");
    return;
  }
  const double number = value->kind == Kind::real ? value->real : static_cast<double>(value->integer);
  if (!(number >= min && number <= max)) {  // also NaN
    const auto text = [](double d) { return std::to_string(static_cast<long long>(d)); };
    report_.fault(value->place, name(key) + " must be from " + text(min) + " to " + text(max));
    return;
  }
  out = static_cast<std::uint32_t>(std::lround(number * 100));
}

void Table::refuse_others(std::string (*hint_for)(const Node&)) {
  for (const Node& item : node_.items) {
    if (std::find(known_.begin(), known_.end(), item.key) != known_.end()) continue;
    std::string hint = hint_for == nullptr || report_.full() ? std::string() : hint_for(item);
    if (hint.empty() && !report_.full()) hint = did_you_mean(item.key, known_);
    report_.fault(item.key_place, "unknown key " + quote(path_ + item.key), std::move(hint));
  }
}

bool read_string(Report& report, const Node& node, const std::string& name, std::string& out) {
  if (node.kind != Kind::string) {
    report.wrong_type(node, name, "a string");
    return false;
  }
  if (node.text.find('\0') != std::string::npos) {
    report.fault(node.place, name + " holds a NUL character", "no argument, path or variable can carry it");
    return false;
  }
  out = node.text;
  return true;
}

bool read_duration(Report& report, const Node& node, const std::string& name, Duration& out) {
  if (node.kind != Kind::string) {
    std::string hint = "write \"10s\" or \"500ms\"";
    if (node.kind == Kind::integer && node.integer >= 0) {
      const std::string number = std::to_string(node.integer);
      hint = "write \"" + number + "s\" or \"" + number + "ms\"";
    }
    report.wrong_type(node, name, "a duration in quotes", std::move(hint));
    return false;
  }
  auto parsed = parse_duration(node.text);
  if (!parsed) {
    report.fault(node.place, name + ": " + parsed.error().message, parsed.error().hint);
    return false;
  }
  out = *parsed;
  return true;
}

bool read_integer(Report& report, const Node& node, const std::string& name, std::int64_t min,
                  std::int64_t max, std::int64_t& out) {
  if (node.kind != Kind::integer) {
    report.wrong_type(node, name, "an integer",
                      node.kind == Kind::string ? "write the number without quotes" : "");
    return false;
  }
  if (node.integer < min || node.integer > max) {
    const bool open = max == std::numeric_limits<std::int64_t>::max();
    const std::string range =
        (open ? "at least " : "from ") + std::to_string(min) + (open ? "" : " to " + std::to_string(max));
    report.fault(node.place, name + " must be " + range + ", not " + std::to_string(node.integer));
    return false;
  }
  out = node.integer;
  return true;
}

bool read_strings(Report& report, const Node& node, const std::string& name, std::vector<const Node*>& out) {
  std::string ignored;
  if (node.kind == Kind::string) {
    if (!read_string(report, node, name, ignored)) return false;
    out.push_back(&node);
    return true;
  }
  if (node.kind != Kind::array) {
    report.wrong_type(node, name, "a string or an array of strings");
    return false;
  }
  if (node.items.size() > kListMax) {
    report.fault(node.place, name + " has more than " + std::to_string(kListMax) + " elements");
    return false;
  }
  bool all = true;
  for (const Node& item : node.items) {
    if (read_string(report, item, "an element of " + name, ignored)) {
      out.push_back(&item);
    } else {
      all = false;
    }
  }
  return all;
}

bool read_choice(Report& report, const Node& node, const std::string& name,
                 const std::vector<std::string>& choices, std::size_t& out) {
  std::string text;
  if (!read_string(report, node, name, text)) return false;
  const auto found = std::find(choices.begin(), choices.end(), text);
  if (found == choices.end()) {
    report.fault(node.place, name + " cannot be " + quote(text), did_you_mean(text, choices));
    return false;
  }
  out = static_cast<std::size_t>(found - choices.begin());
  return true;
}

}  // namespace runmain::config
