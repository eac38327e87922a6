// What several threads told of one span, as one list of fields: keys unique, limits kept, one status.
#include <cstring>

#include "span.hpp"

namespace runmain::child {
namespace {

struct Part {
  const std::uint8_t* begin;
  const std::uint8_t* end;
};

class Merger {
 public:
  Merger(runmain_span& span, Part first, Part second, std::uint8_t* out)
      : span_(span), parts_{first, second}, out_(out) {}

  std::uint8_t* run() {
    for (unsigned part = 0; part < 2; ++part) {
      WireFields fields(parts_[part].begin, parts_[part].end);
      WireField field{};
      while (fields.next(field)) take(part, field);
    }
    if (status_.begin != nullptr) copy(status_);
    return out_.at();
  }

 private:
  void take(unsigned part, const WireField& field) {
    const Limits& limits = g_telemetry.load(std::memory_order_acquire)->limits;
    switch (field.number) {
      case kFieldAttribute:
        if (part == 0 && is_replaced(field)) return;
        return copy_counted(field, attributes_, limits.attributes, span_.now.dropped_attributes);
      case kFieldEvent: return copy_counted(field, events_, limits.events, span_.now.dropped_events);
      case kFieldLink: return copy_counted(field, links_, limits.links, span_.now.dropped_links);
      case kFieldStatus: return note_status(field);
      default: copy(field);
    }
  }

  // Each part has a key once: only the other one can have it too.
  bool is_replaced(const WireField& attribute) const {
    const runmain_text key = key_of(attribute);
    WireFields fields(parts_[1].begin, parts_[1].end);
    WireField field{};
    while (fields.next(field)) {
      if (field.number == kFieldAttribute && same_text(key_of(field), key)) return true;
    }
    return false;
  }

  void copy_counted(const WireField& field, std::uint32_t& seen, const std::atomic<std::uint32_t>& limit,
                    std::uint32_t& dropped) {
    if (seen >= limit.load(std::memory_order_relaxed)) {
      ++dropped;
      return;
    }
    ++seen;
    copy(field);
  }

  // Ok stays.
  void note_status(const WireField& status) {
    if (!is_ok_) status_ = status;
    WireFields fields(status.data, status.end);
    WireField field{};
    while (fields.next(field)) is_ok_ = is_ok_ || (field.number == 3 && field.value == RUNMAIN_STATUS_OK);
  }

  void copy(const WireField& field) { out_.raw(field.begin, field.size()); }

  runmain_span& span_;
  Part parts_[2];
  WireWriter out_;
  WireField status_{};
  bool is_ok_ = false;
  std::uint32_t attributes_ = 0;
  std::uint32_t events_ = 0;
  std::uint32_t links_ = 0;
};

}  // namespace

Block* merge(runmain_span& span, const std::uint8_t* write, Pool& pool, std::size_t& size) {
  const Side& side = span.now.side;
  const Part second{side.block != nullptr ? side.block->data() : nullptr, side.write};
  const auto first_size = static_cast<std::size_t>(write - span.begin);
  const auto second_size = side.block != nullptr ? static_cast<std::size_t>(second.end - second.begin) : 0;
  size = first_size + second_size + kTail;
  if (size > RUNMAIN_RECORD_MAX) return nullptr;
  Block* block = take_block(pool, static_cast<BlockClass>(class_for(size)));
  if (block == nullptr) return nullptr;
  std::memcpy(block->data(), span.begin, span.prefix);
  Merger merger(span, {span.begin + span.prefix, write}, second, block->data() + span.prefix);
  size = static_cast<std::size_t>(merger.run() - block->data());
  span.now.dropped_attributes += side.dropped;
  return block;
}

}  // namespace runmain::child
