#include "cli/trace_book.hpp"

#include <algorithm>

namespace runmain::cli {
namespace {

std::int64_t end_of(const TraceBook::Trace& trace) {
  std::int64_t end = 0;
  for (const TraceBook::Entry& entry : trace) end = std::max(end, entry.span.end_ns);
  return end;
}

}  // namespace

void TraceBook::add(Entry entry, Time now) {
  if (spans_ >= kSpansMax) drop_oldest();
  const auto [at, fresh] = open_.try_emplace(entry.span.trace_id);
  Open& open = at->second;
  if (fresh) open.number = ++last_number_;
  open.has_root |= entry.span.parent_span_id.empty();
  open.due = now + (open.has_root ? kQuiet : kPatience);
  open.trace.push_back(std::move(entry));
  ++spans_;
}

void TraceBook::drop_oldest() {
  const auto oldest = std::min_element(open_.begin(), open_.end(), [](const auto& a, const auto& b) {
    return a.second.number < b.second.number;
  });
  if (oldest == open_.end()) return;
  spans_ -= oldest->second.trace.size();
  dropped_ += oldest->second.trace.size();
  open_.erase(oldest);
}

std::vector<TraceBook::Trace> TraceBook::take_newest(std::size_t count) {
  std::vector<std::pair<std::int64_t, Open*>> all;
  for (auto& [id, open] : open_) all.emplace_back(end_of(open.trace), &open);
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second->number < b.second->number;
  });
  std::vector<Trace> traces;
  for (std::size_t i = all.size() - std::min(all.size(), count); i < all.size(); ++i)
    traces.push_back(std::move(all[i].second->trace));
  open_.clear();
  spans_ = 0;
  return traces;
}

std::vector<TraceBook::Trace> TraceBook::take_due(Time now) {
  std::vector<std::pair<std::size_t, std::string>> ripe;
  for (const auto& [id, open] : open_) {
    if (open.due <= now) ripe.emplace_back(open.number, id);
  }
  std::sort(ripe.begin(), ripe.end());
  std::vector<Trace> traces;
  for (const auto& [number, id] : ripe) {
    const auto found = open_.find(id);
    spans_ -= found->second.trace.size();
    traces.push_back(std::move(found->second.trace));
    open_.erase(found);
  }
  return traces;
}

Time TraceBook::due() const {
  Time due = kNever;
  for (const auto& [id, open] : open_) due = std::min(due, open.due);
  return due;
}

}  // namespace runmain::cli
