#include "telemetry/spill.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "telemetry/crc32c.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::uint32_t kMagic = 0x32505352;  // "RSP2"
constexpr std::size_t kNameSize = 16 + 6;

std::uint32_t checksum_of(std::uint32_t length, std::uint32_t items, std::uint64_t number,
                          std::string_view payload) {
  char head[16];
  std::memcpy(head, &length, 4);
  std::memcpy(head + 4, &items, 4);
  std::memcpy(head + 8, &number, 8);
  return crc32c(payload, crc32c({head, sizeof head}));
}

// How far the records are done.
struct Position {
  std::uint64_t segment = 0;
  std::uint64_t offset = 0;
  std::uint64_t handed_out = 0;
  std::uint32_t checksum = 0;
  std::uint32_t reserved = 0;
};

std::uint32_t checksum_of(const Position& position) {
  return crc32c({reinterpret_cast<const char*>(&position), offsetof(Position, checksum)});
}

std::optional<std::uint64_t> segment_name(const char* name) {
  std::uint64_t number = 0;
  int end = 0;
  if (std::strlen(name) != kNameSize || std::sscanf(name, "%16" SCNx64 ".spill%n", &number, &end) != 1) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(end) == kNameSize ? std::optional(number) : std::nullopt;
}

Result<std::vector<std::uint64_t>> segment_names(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(folder.c_str()), closedir);
  if (!entries) return Error::from_errno("opendir " + folder, errno);
  std::vector<std::uint64_t> names;
  while (const dirent* entry = readdir(entries.get())) {
    if (const auto name = segment_name(entry->d_name)) names.push_back(*name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

os::UniqueFd open_file(const std::string& path) {
  constexpr mode_t kOurs = 0600;
  return os::UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kOurs));
}

}  // namespace

// ---- what is there

Result<Spill> Spill::open(std::string folder, SpillLimits limits) {
  Spill spill(std::move(folder), limits);
  if (auto loaded = spill.load(); !loaded) return loaded.error();
  return spill;
}

std::string Spill::path_of(std::uint64_t name) const {
  char text[kNameSize + 1];
  std::snprintf(text, sizeof text, "%016" PRIx64 ".spill", name);
  return folder_ + "/" + text;
}

Result<void> Spill::load() {
  auto names = segment_names(folder_);
  if (!names) return names.error();
  position_ = open_file(folder_ + "/read");
  if (!position_) return Error::from_errno("open " + folder_ + "/read", errno);
  load_position();
  last_name_ = read_segment_ == 0 ? 0 : read_segment_ - 1;  // an older one would count as done
  for (const std::uint64_t name : *names) {
    last_name_ = std::max(last_name_, name);
    if (name < read_segment_) {  // done, and not removed in time
      unlink(path_of(name).c_str());
    } else if (auto loaded = load_segment(name); !loaded) {
      return loaded;
    }
  }
  if (segments_.empty() || segments_.front().name != read_segment_) read_offset_ = 0;
  while (!segments_.empty() && segments_.front().records == 0) drop_first();
  if (!segments_.empty()) read_segment_ = segments_.front().name;
  next_segment_ = read_segment_;
  next_offset_ = read_offset_;
  return {};
}

void Spill::load_position() {
  Position position;
  const auto bytes = os::pread_some(position_.get(), sizeof position, 0);
  if (!bytes || bytes->size() != sizeof position) return;
  std::memcpy(&position, bytes->data(), sizeof position);
  if (position.checksum != checksum_of(position)) return;
  read_segment_ = position.segment;
  read_offset_ = position.offset;
  handed_out_ = handed_out_before_ = last_number_ = position.handed_out;
}

Result<void> Spill::load_segment(std::uint64_t name) {
  Segment segment;
  segment.name = name;
  segment.fd = open_file(path_of(name));
  struct stat file {};
  if (!segment.fd || fstat(segment.fd.get(), &file) != 0)
    return Error::from_errno("open " + path_of(name), errno);
  segment.size = static_cast<std::uint64_t>(file.st_size);
  const std::uint64_t done = name == read_segment_ ? read_offset_ : 0;
  std::uint64_t at = 0;
  while (const auto head = head_at(segment, at)) {
    const std::uint64_t end = at + sizeof(Head) + head->length;
    // A record that is not the last one was followed by another write: it is whole, or damaged for other
    // reasons.
    if (end == segment.size && !payload_at(segment, at, *head)) break;
    if (at >= done) add(segment, *head, 1);
    last_number_ = std::max(last_number_, head->number);
    at = end;
  }
  if (at < segment.size) {
    ++tallies_.damaged_records;
    if (auto cut_off = cut(segment, at); !cut_off) return cut_off;
  }
  bytes_ += segment.size;
  segments_.push_back(std::move(segment));
  return {};
}

Result<void> Spill::cut(Segment& segment, std::uint64_t size) const {
  if (ftruncate(segment.fd.get(), static_cast<off_t>(size)) != 0) {
    return Error::from_errno("ftruncate " + path_of(segment.name), errno);
  }
  segment.size = size;
  return {};
}

std::optional<Spill::Head> Spill::head_at(const Segment& segment, std::uint64_t offset) const {
  Head head;
  const auto bytes = os::pread_some(segment.fd.get(), sizeof head, offset);
  if (!bytes || bytes->size() != sizeof head) return std::nullopt;
  std::memcpy(&head, bytes->data(), sizeof head);
  const bool fits = head.magic == kMagic && head.length <= limits_.record &&
                    offset + sizeof head + head.length <= segment.size;
  return fits ? std::optional(head) : std::nullopt;
}

std::optional<std::string> Spill::payload_at(const Segment& segment, std::uint64_t offset,
                                             const Head& head) const {
  auto payload = os::pread_some(segment.fd.get(), head.length, offset + sizeof head);
  const bool whole = payload && payload->size() == head.length &&
                     checksum_of(head.length, head.items, head.number, *payload) == head.checksum;
  return whole ? std::optional(std::move(*payload)) : std::nullopt;
}

// Counts a record that is not done, or takes it back.
void Spill::add(Segment& segment, const Head& head, std::int64_t sign) {
  const auto n = static_cast<std::uint64_t>(sign);
  segment.records += n;
  segment.waiting += n;
  segment.items += n * head.items;
  records_ += n;
  items_ += n * head.items;
}

std::uint64_t Spill::forget_after(std::uint64_t number) {
  const std::uint64_t before = records_;
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    Segment& segment = segments_[i];
    std::uint64_t at = i == 0 ? read_offset_ : 0;
    std::uint64_t end = segment.size;
    while (const auto head = head_at(segment, at)) {
      if (head->number > number) {
        end = std::min(end, at);
        add(segment, *head, -1);
      }
      at += sizeof(Head) + head->length;
    }
    if (end == segment.size) continue;
    bytes_ -= segment.size - end;
    (void)cut(segment, end);  // on failure they come again, as duplicates
  }
  while (!segments_.empty() && segments_.front().records == 0) drop_first();
  last_number_ = std::min(last_number_, number);
  handed_out_ = std::min(handed_out_, number);
  handed_out_before_ = std::min(handed_out_before_, number);
  return before - records_;
}

// ---- in

Result<void> Spill::begin_segment() {
  Segment segment;
  segment.name = ++last_name_;
  segment.fd = open_file(path_of(segment.name));
  if (!segment.fd) return Error::from_errno("open " + path_of(segment.name), errno);
  segments_.push_back(std::move(segment));
  return {};
}

Result<std::uint64_t> Spill::push(std::string_view payload, std::uint32_t items) {
  if (payload.size() > limits_.record) return Error{"too long for the spill", {}, {}, EFBIG};
  if (segments_.empty() || segments_.back().size >= limits_.segment) {
    if (auto begun = begin_segment(); !begun) return begun.error();
  }
  Segment& segment = segments_.back();
  Head head;
  head.magic = kMagic;
  head.length = static_cast<std::uint32_t>(payload.size());
  head.items = items;
  head.number = last_number_ + 1;
  head.checksum = checksum_of(head.length, head.items, head.number, payload);
  std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
  bytes += payload;
  if (auto written = os::pwrite_all(segment.fd.get(), bytes, segment.size); !written) {
    (void)cut(segment, segment.size);  // else the next one overwrites it
    return written.error();
  }
  last_number_ = head.number;
  segment.size += bytes.size();
  bytes_ += bytes.size();
  add(segment, head, 1);
  ++tallies_.pushed;
  drop_over_limit();
  return head.number;
}

void Spill::lose(Drop reason, std::string_view payload, std::uint32_t items) {
  const bool full = reason == Drop::spill_full;
  ++(full ? tallies_.dropped_records : tallies_.damaged_records);
  (full ? tallies_.dropped_items : tallies_.damaged_items) += items;
  if (lost_) lost_(reason, payload.substr(0, kSpillBegin), items);
}

void Spill::drop_over_limit() {
  while (bytes_ > limits_.bytes && segments_.size() > 1) {
    const Segment& segment = segments_.front();
    // What was handed out is somebody else's now, and not lost.
    std::uint64_t at = next_segment_ == segment.name ? next_offset_
                       : segment.waiting > 0         ? read_offset_
                                                     : segment.size;
    while (const auto head = head_at(segment, at)) {
      const auto begin = os::pread_some(segment.fd.get(), std::min<std::size_t>(head->length, kSpillBegin),
                                        at + sizeof(Head));
      lose(Drop::spill_full, begin ? std::string_view(*begin) : std::string_view(), head->items);
      at += sizeof(Head) + head->length;
    }
    drop_first();
  }
}

// ---- out

std::optional<Spill::Record> Spill::next() {
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    Segment& segment = segments_[i];
    if (segment.name < next_segment_ || segment.waiting == 0) continue;
    if (segment.name > next_segment_) {
      next_segment_ = segment.name;
      next_offset_ = i == 0 ? read_offset_ : 0;
    }
    while (segment.waiting > 0) {
      const auto head = head_at(segment, next_offset_);
      if (!head) {
        drop_rest(i);
        break;
      }
      auto payload = payload_at(segment, next_offset_, *head);
      next_offset_ += sizeof(Head) + head->length;
      --segment.waiting;
      flights_.push_back({head->number, segment.name, next_offset_, head->items, !payload});
      if (payload) {
        handed_out_ = std::max(handed_out_, head->number);
        save_position();
        return Record{head->number, std::move(*payload), head->items, head->number <= handed_out_before_};
      }
      const auto begin = os::pread_some(segment.fd.get(), std::min<std::size_t>(head->length, kSpillBegin),
                                        next_offset_ - head->length);
      lose(Drop::spill_damaged, begin ? std::string_view(*begin) : std::string_view(), head->items);
    }
  }
  advance();
  return std::nullopt;
}

// What follows in the segment cannot be read.
void Spill::drop_rest(std::size_t index) {
  Segment& segment = segments_[index];
  std::uint64_t flying = 0;
  for (const Flight& flight : flights_)
    flying += flight.segment == segment.name && !flight.done ? flight.items : 0;
  const std::uint64_t items = segment.items - std::min(segment.items, flying);
  for (std::uint64_t i = segment.waiting; i > 0; --i) {
    lose(Drop::spill_damaged, {}, i == 1 ? static_cast<std::uint32_t>(items) : 0);
  }
  records_ -= segment.waiting;
  items_ -= items;
  segment.records -= segment.waiting;
  segment.items -= items;
  segment.waiting = 0;
}

void Spill::done(std::uint64_t number) {
  const auto found = std::find_if(flights_.begin(), flights_.end(),
                                  [number](const Flight& f) { return f.number == number && !f.done; });
  if (found == flights_.end()) return;
  found->done = true;
  ++tallies_.done;
  advance();
}

std::vector<std::uint64_t> Spill::done_early() const {
  std::vector<std::uint64_t> numbers;
  for (const Flight& flight : flights_) {
    if (flight.done) numbers.push_back(flight.number);
  }
  return numbers;
}

// Past all records at the beginning that are done.
void Spill::advance() {
  bool moved = false;
  while (!flights_.empty() && !segments_.empty() && flights_.front().done &&
         flights_.front().segment == segments_.front().name) {
    const Flight flight = flights_.front();
    flights_.pop_front();
    Segment& segment = segments_.front();
    const std::uint64_t items = std::min<std::uint64_t>(flight.items, segment.items);
    read_offset_ = flight.end;
    --segment.records;
    segment.items -= items;
    --records_;
    items_ -= items;
    moved = true;
    if (segment.records == 0) drop_first();
  }
  while (!segments_.empty() && segments_.front().records == 0) drop_first();
  if (moved) save_position();
}

void Spill::drop_first() {
  Segment& segment = segments_.front();
  bytes_ -= segment.size;
  records_ -= segment.records;
  items_ -= segment.items;
  const std::string path = path_of(segment.name);
  std::erase_if(flights_, [&](const Flight& flight) { return flight.segment == segment.name; });
  read_segment_ = segment.name + 1;
  read_offset_ = 0;
  segments_.pop_front();
  if (!segments_.empty()) read_segment_ = segments_.front().name;
  if (next_segment_ < read_segment_) {
    next_segment_ = read_segment_;
    next_offset_ = 0;
  }
  save_position();  // first: a segment that is left behind is removed at the next start
  unlink(path.c_str());
}

// On failure what is done is handed out again after our death.
void Spill::save_position() {
  Position position;
  position.segment = segments_.empty() ? read_segment_ : segments_.front().name;
  position.offset = read_offset_;
  position.handed_out = handed_out_;
  position.checksum = checksum_of(position);
  (void)os::pwrite_all(position_.get(), {reinterpret_cast<const char*>(&position), sizeof position}, 0);
}

}  // namespace runmain::telemetry
