// From a lane's bytes to items.
#include <algorithm>
#include <cstring>

#include "telemetry/mailbox_reader.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/utf8.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::size_t kScopeHead = 8;  // u32 scope or signal, u32 0

std::uint32_t word_at(std::string_view bytes) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

}  // namespace

// True if the lane may have more.
bool MailboxReader::read_some(LaneCursor& lane) {
  const std::uint64_t before = lane.position;
  const bool more = lane.mode == RUNMAIN_LANE_BY_POSITION ? read_by_position(lane) : read_by_checksum(lane);
  if (lane.stage == LaneStage::aside) return false;
  view(lane).at_end = !more && lane.position == before;
  return !view(lane).at_end;
}

bool MailboxReader::read_by_position(LaneCursor& lane) {
  const std::uint64_t ring = geometry().ring_size;
  const std::uint64_t write = load(memory_.lane(lane.lane).write);
  const char* lie = nullptr;
  if (write % RUNMAIN_RECORD_ALIGN != 0) lie = "a write position that is not aligned";
  if (write < lane.position) lie = "a write position behind what was read";
  if (write > lane.position && write - lane.position > ring) lie = "more than its ring holds";
  if (lie != nullptr) {
    put_aside(lane, lie);
    return false;
  }
  const std::uint64_t offset = lane.position % ring;
  const std::uint64_t available = std::min(write - lane.position, ring - offset);
  if (available == 0) return false;
  const std::string_view bytes =
      copy(memory_.ring(lane.lane) + offset, std::min<std::uint64_t>(available, RUNMAIN_RECORD_MAX));
  for (std::uint64_t at = 0; at < available;) {
    const std::string_view rest = at < bytes.size() ? bytes.substr(at) : std::string_view();
    const Cut cut = cut_by_position(rest, available - at, lane.position, ring);
    if (cut.what == CutKind::lie) {
      put_aside(lane, cut.reason);
      return false;
    }
    if (cut.what != CutKind::record && cut.what != CutKind::pad) break;
    if (cut.what == CutKind::record) take(lane, cut);
    lane.position += cut.size;
    at += cut.size;
    if (items_.size() >= kDrainItemsMax) break;
  }
  return true;
}

// One record after the other: nothing tells how far the writer has come.
bool MailboxReader::read_by_checksum(LaneCursor& lane) {
  const std::uint64_t ring = geometry().ring_size;
  std::size_t taken = 0;
  while (taken < RUNMAIN_RECORD_MAX && !is_full()) {
    if (const std::uint64_t skipped = skipped_at_end(lane.position, ring); skipped > 0) {
      lane.position += skipped;
      continue;
    }
    const std::uint64_t offset = lane.position % ring;
    const char* from = memory_.ring(lane.lane) + offset;
    runmain_record head{};
    std::memcpy(&head, from, sizeof head);
    const std::size_t size =
        head.kind == RUNMAIN_RECORD_PAD ? sizeof head : padded(sizeof head + std::uint64_t{head.length});
    if (head.kind == 0 || size > RUNMAIN_RECORD_MAX || size > ring - offset) return false;
    const std::size_t before = used_;
    const Cut cut = cut_by_checksum(copy(from, size), lane.position, ring);
    if (cut.what == CutKind::none) {
      used_ = before;
      return false;
    }
    if (cut.what == CutKind::record) take(lane, cut);
    lane.position += cut.size;
    taken += size;
  }
  return true;
}

void MailboxReader::take(LaneCursor& lane, const Cut& cut) {
  const bool known = cut.version == 0 && cut.kind >= RUNMAIN_RECORD_SPAN && cut.kind <= RUNMAIN_RECORD_METRIC;
  if (!known) {
    ++cursor_.tallies.unknown_records;
    return;
  }
  switch (cut.kind) {
    case RUNMAIN_RECORD_SPAN: return take_item(lane, Signal::traces, cut.payload);
    case RUNMAIN_RECORD_LOG: return take_item(lane, Signal::logs, cut.payload);
    case RUNMAIN_RECORD_METRIC: return take_item(lane, Signal::metrics, cut.payload);
    default: return take_request(lane, cut.payload);
  }
}

void MailboxReader::take_item(LaneCursor& lane, Signal signal, std::string_view payload) {
  if (payload.size() < kScopeHead) return add_invalid(lane, signal, By::record);
  Item item;
  item.signal = signal;
  item.origin = origin_of(lane, word_at(payload));
  item.bytes = payload.substr(kScopeHead);
  add(lane, item, By::record);
}

void MailboxReader::take_request(LaneCursor& lane, std::string_view payload) {
  if (payload.size() < kScopeHead || word_at(payload) >= kSignals) {
    ++cursor_.tallies.unknown_records;
    return;
  }
  const auto signal = static_cast<Signal>(word_at(payload));
  const auto keep = [this](std::string bytes) -> std::string_view {
    return repaired_.emplace_back(std::move(bytes));
  };
  const std::size_t before = items_.size();
  const auto all = each_item(signal, payload.substr(kScopeHead), keep, [&](const Item& item) {
    if (items_.size() - before < kDrainItemsMax) {
      add(lane, item, By::request);
    } else {
      add_invalid(lane, item.signal, By::request);
    }
  });
  if (!all) ++cursor_.tallies.unknown_records;
}

// Its writer counts what it ends itself, and knows nothing of what is in a request.
void MailboxReader::count_span(LaneCursor& lane, By by) {
  ++cursor_.tallies.spans;
  ++(by == By::request ? cursor_.tallies.requested : lane.spans);
}

void MailboxReader::add_invalid(LaneCursor& lane, Signal signal, By by) {
  if (signal != Signal::traces) {
    ++cursor_.tallies.invalid_others;
    return;
  }
  count_span(lane, by);
  ++cursor_.tallies.invalid_spans;
}

void MailboxReader::add(LaneCursor& lane, Item item, By by) {
  const Checked found = check(item_message(item.signal), item.bytes);
  if (!found.valid()) return add_invalid(lane, item.signal, by);
  if (found.needs_repair()) {
    item.bytes = repaired_.emplace_back(repair(item_message(item.signal), item.bytes));
    ++cursor_.tallies.repaired;
  }
  item.lane = lane.lane;
  item.ids = found.ids;
  if (item.signal == Signal::traces) {
    count_span(lane, by);
    lane.remember(found.ids);
  } else {
    ++(item.signal == Signal::logs ? cursor_.tallies.logs : cursor_.tallies.metrics);
  }
  items_.push_back(item);
}

// ---- the dictionary

Origin MailboxReader::origin_of(LaneCursor& lane, std::uint32_t scope) {
  Dictionary& dictionary = *view(lane).dictionary;
  // An entry was published before a record that names it.
  const bool is_new =
      dictionary.entries.empty() || (scope != RUNMAIN_SCOPE_LOST && scope >= dictionary.entries.size());
  if (is_new) refresh_dictionary(lane);
  return scope_of(lane, scope);
}

Origin MailboxReader::scope_of(LaneCursor& lane, std::uint32_t scope) {
  const std::vector<Entry>& entries = view(lane).dictionary->entries;
  Origin origin;
  if (!entries.empty() && entries[0].kind == RUNMAIN_ENTRY_RESOURCE) origin.resource = entries[0].payload;
  if (scope < entries.size() && entries[scope].kind == RUNMAIN_ENTRY_SCOPE) {
    origin.scope = entries[scope].payload;
    origin.scope_schema = entries[scope].schema;
  } else {
    ++cursor_.tallies.bad_scopes;
  }
  return origin;
}

bool MailboxReader::refresh_dictionary(LaneCursor& lane) {
  Dictionary& dictionary = *view(lane).dictionary;
  const std::uint64_t used = load(memory_.lane(lane.lane).dictionary_used);
  if (used <= dictionary.used || used > geometry().dictionary_size || used % kEntryAlign != 0) {
    return false;
  }
  const std::string& bytes = dictionary.bytes.emplace_back(memory_.dictionary(lane.lane) + dictionary.used,
                                                           static_cast<std::size_t>(used - dictionary.used));
  dictionary.used = used;
  const DictionaryEntries read = read_dictionary(bytes, geometry().dictionary_size / sizeof(runmain_entry));
  for (const DictionaryEntry& raw : read.entries) {
    dictionary.entries.push_back(usable_entry({raw.kind, raw.schema, raw.payload}, dictionary));
  }
  return true;
}

// An entry with a fault keeps its number and loses what it says.
MailboxReader::Entry MailboxReader::usable_entry(const Entry& raw, Dictionary& dictionary) {
  if (raw.kind != RUNMAIN_ENTRY_RESOURCE && raw.kind != RUNMAIN_ENTRY_SCOPE) return {raw.kind, {}, {}};
  const Message& message = raw.kind == RUNMAIN_ENTRY_RESOURCE ? kResource : kScope;
  const Checked found = check(message, raw.payload);
  Entry entry = raw;
  if (!is_utf8(raw.schema)) entry.schema = {};
  if (!found.valid()) {
    entry.payload = {};
  } else if (found.needs_repair()) {
    entry.payload = dictionary.bytes.emplace_back(repair(message, raw.payload));
  }
  return entry;
}

}  // namespace runmain::telemetry
