#include "config/report.hpp"

#include <algorithm>

namespace runmain::config {

std::string Report::at(Place place) const {
  if (place.line == 0) return file_name_;
  return file_name_ + ":" + std::to_string(place.line) + ":" + std::to_string(place.column);
}

void Report::keep(List& list, Placed placed) {
  if (list.kept.size() < kFaultsMax) {
    list.kept.push_back(std::move(placed));
  } else {
    ++list.more;
  }
}

void Report::add(List& list, Place place, std::string message, std::string hint) {
  keep(list, Placed{place, Error{std::move(message), at(place), std::move(hint)}});
}

void Report::foreign_fault(Place place, Error error) { keep(faults_, Placed{place, std::move(error)}); }

void Report::wrong_type(const Node& node, const std::string& key, const std::string& wanted,
                        std::string hint) {
  fault(node.place, key + " must be " + wanted + ", not " + name_of(node.kind), std::move(hint));
}

std::vector<Error> Report::take(List& list, std::size_t& more) {
  std::stable_sort(list.kept.begin(), list.kept.end(),
                   [](const Placed& a, const Placed& b) { return a.place < b.place; });
  std::vector<Error> out;
  out.reserve(list.kept.size());
  for (Placed& placed : list.kept) out.push_back(std::move(placed.error));
  more += list.more;
  list = List{};
  return out;
}

}  // namespace runmain::config
