// Typed reading of tables: every wrong type and every key that nobody asked for becomes a fault.
// Invariant: a faulty value leaves what it would have been read into untouched. Non-goal: what keys mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "config/node.hpp"
#include "config/report.hpp"

namespace runmain::config {

inline constexpr std::size_t kListMax = 1000;  // elements of an array that the file may hold

class Table {
 public:
  // Keeps references. `path` is what messages put before a key, such as "watch.". Requires a table node.
  Table(Report& report, const Node& node, std::string path = {})
      : report_(report), node_(node), path_(std::move(path)) {}

  // The value of a key, which is known from now on; null if it is absent.
  const Node* find(const std::string& key);
  std::string name(const std::string& key) const { return path_ + key; }

  void read(const std::string& key, bool& out);
  void read(const std::string& key, Duration& out);
  void read_integer(const std::string& key, std::int64_t min, std::int64_t max, std::uint32_t& out);
  // A number with or without a fraction, stored as percent.
  void read_percent(const std::string& key, double min, double max, std::uint32_t& out);

  // Reports every key that find() was not asked for. `hint_for` may know better than the nearest key: it is
  // asked first and answers with an empty string if it does not.
  void refuse_others(std::string (*hint_for)(const Node&) = nullptr);

 private:
  Report& report_;
  const Node& node_;
  std::string path_;
  std::vector<std::string> known_;
};

// A string without NUL. False after a fault, as the others.
bool read_string(Report& report, const Node& node, const std::string& name, std::string& out);
bool read_duration(Report& report, const Node& node, const std::string& name, Duration& out);
bool read_integer(Report& report, const Node& node, const std::string& name, std::int64_t min,
                  std::int64_t max, std::int64_t& out);
// A string, or an array of at most kListMax strings: their nodes.
bool read_strings(Report& report, const Node& node, const std::string& name, std::vector<const Node*>& out);
// A string that must be one of these: its index.
bool read_choice(Report& report, const Node& node, const std::string& name,
                 const std::vector<std::string>& choices, std::size_t& out);

}  // namespace runmain::config
