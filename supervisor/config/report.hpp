// Gathers the faults and warnings of one file, so that all of them are told in one go.
// Invariant: at most kFaultsMax of each are kept, the rest are counted. Non-goal: deciding what is a fault.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/node.hpp"
#include "config/source.hpp"

namespace runmain::config {

inline constexpr std::size_t kFaultsMax = 100;

class Report {
 public:
  // Keeps references: both outlive this.
  Report(const std::string& file_name, const Source& source) : file_name_(file_name), source_(source) {}

  void fault(Place place, std::string message, std::string hint = {}) {
    add(faults_, place, std::move(message), std::move(hint));
  }
  void warning(Place place, std::string message, std::string hint = {}) {
    add(warnings_, place, std::move(message), std::move(hint));
  }
  // A fault of another file, which carries its own place; told where `place` names that file.
  void foreign_fault(Place place, Error error);
  // `KEY must be WANTED, not a string`.
  void wrong_type(const Node& node, const std::string& key, const std::string& wanted, std::string hint = {});
  // The place of byte `offset` in the text of a string node.
  Place inside(const Node& node, std::size_t offset) const {
    return source_.inside_string(node.place, node.text, offset);
  }
  // "file:line:column"
  std::string at(Place place) const;

  // No further fault is kept: a hint need not be looked for.
  bool full() const { return faults_.kept.size() >= kFaultsMax; }
  bool clean() const { return faults_.kept.empty(); }
  // In the file's order; what was counted only is added to `more`.
  std::vector<Error> take_faults(std::size_t& more) { return take(faults_, more); }
  std::vector<Error> take_warnings(std::size_t& more) { return take(warnings_, more); }

 private:
  struct Placed {
    Place place;
    Error error;
  };
  struct List {
    std::vector<Placed> kept;
    std::size_t more = 0;
  };
  void add(List& list, Place place, std::string message, std::string hint);
  static void keep(List& list, Placed placed);
  static std::vector<Error> take(List& list, std::size_t& more);

  const std::string& file_name_;
  const Source& source_;
  List faults_;
  List warnings_;
};

}  // namespace runmain::config
