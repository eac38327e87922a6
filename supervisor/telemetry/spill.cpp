#include "telemetry/spill.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "base/archive.hpp"
#include "telemetry/crc32c.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::uint32_t kMagic = 0x31505352;  // "RSP1"
constexpr const char* kSuffix = ".spill";
constexpr std::size_t kNameSize = 16 + 6;

std::uint32_t checksum_of(std::uint32_t length, std::uint32_t items, std::string_view payload) {
  char head[8];
  std::memcpy(head, &length, 4);
  std::memcpy(head + 4, &items, 4);
  return crc32c(payload, crc32c({head, sizeof head}));
}

// How far the segments were taken.
struct Position {
  std::uint64_t segment = 0;
  std::uint64_t offset = 0;
  std::uint32_t checksum = 0;
  std::uint32_t reserved = 0;
};

std::uint32_t checksum_of(const Position& position) {
  return crc32c({reinterpret_cast<const char*>(&position), 16});
}

std::optional<std::uint64_t> segment_number(const char* name) {
  std::uint64_t number = 0;
  int end = 0;
  if (std::strlen(name) != kNameSize || std::sscanf(name, "%16" SCNx64 ".spill%n", &number, &end) != 1) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(end) == kNameSize ? std::optional(number) : std::nullopt;
}

Result<std::vector<std::uint64_t>> segment_numbers(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(folder.c_str()), closedir);
  if (!entries) return Error::from_errno("opendir " + folder, errno);
  std::vector<std::uint64_t> numbers;
  while (const dirent* entry = readdir(entries.get())) {
    if (const auto number = segment_number(entry->d_name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

os::UniqueFd open_file(const std::string& path) {
  constexpr mode_t kOurs = 0600;
  return os::UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kOurs));
}

}  // namespace

Result<Spill> Spill::open(std::string folder, SpillLimits limits) {
  Spill spill(std::move(folder), limits);
  if (auto loaded = spill.load(); !loaded) return loaded.error();
  return spill;
}

std::string Spill::path_of(std::uint64_t number) const {
  char name[kNameSize + 1];
  std::snprintf(name, sizeof name, "%016" PRIx64 "%s", number, kSuffix);
  return folder_ + "/" + name;
}

Result<void> Spill::load() {
  auto numbers = segment_numbers(folder_);
  if (!numbers) return numbers.error();
  position_ = open_file(folder_ + "/read");
  if (!position_) return Error::from_errno("open " + folder_ + "/read", errno);
  load_position();
  last_number_ = read_segment_ == 0 ? 0 : read_segment_ - 1;  // an older number would count as taken
  for (const std::uint64_t number : *numbers) {
    last_number_ = std::max(last_number_, number);
    if (number < read_segment_) {  // taken, and not removed in time
      unlink(path_of(number).c_str());
    } else if (auto loaded = load_segment(number); !loaded) {
      return loaded;
    }
  }
  if (segments_.empty() || segments_.front().number != read_segment_) read_offset_ = 0;
  while (!segments_.empty() && segments_.front().records == 0) drop_first();
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
}

Result<void> Spill::load_segment(std::uint64_t number) {
  Segment segment;
  segment.number = number;
  segment.fd = open_file(path_of(number));
  struct stat file {};
  if (!segment.fd || fstat(segment.fd.get(), &file) != 0)
    return Error::from_errno("open " + path_of(number), errno);
  const auto end = static_cast<std::uint64_t>(file.st_size);
  segment.size = end;
  std::uint64_t at = 0;
  std::uint64_t first = number == read_segment_ ? read_offset_ : 0;
  while (const auto head = head_at(segment, at)) {
    const std::uint64_t next = at + sizeof(Head) + head->length;
    // A record that is not the last one was followed by another write: it is whole, or damaged for other
    // reasons.
    if (next == end && !is_whole(segment, at, *head)) break;
    if (at >= first) {
      ++segment.records;
      segment.items += head->items;
    }
    at = next;
  }
  if (at < end) {
    ++tallies_.damaged_records;
    if (ftruncate(segment.fd.get(), static_cast<off_t>(at)) != 0)
      return Error::from_errno("ftruncate", errno);
  }
  segment.size = at;
  bytes_ += segment.size;
  records_ += segment.records;
  items_ += segment.items;
  segments_.push_back(std::move(segment));
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

bool Spill::is_whole(const Segment& segment, std::uint64_t offset, const Head& head) const {
  const auto payload = os::pread_some(segment.fd.get(), head.length, offset + sizeof head);
  return payload && payload->size() == head.length &&
         checksum_of(head.length, head.items, *payload) == head.checksum;
}

Result<void> Spill::begin_segment() {
  Segment segment;
  segment.number = ++last_number_;
  segment.fd = open_file(path_of(segment.number));
  if (!segment.fd) return Error::from_errno("open " + path_of(segment.number), errno);
  segments_.push_back(std::move(segment));
  return {};
}

Result<void> Spill::push(std::string_view payload, std::uint32_t items) {
  if (payload.size() > limits_.record) return Error{"too long for the spill", {}, {}, EFBIG};
  if (segments_.empty() || segments_.back().size >= limits_.segment) {
    if (auto begun = begin_segment(); !begun) return begun;
  }
  Segment& segment = segments_.back();
  Head head;
  head.magic = kMagic;
  head.length = static_cast<std::uint32_t>(payload.size());
  head.items = items;
  head.checksum = checksum_of(head.length, head.items, payload);
  std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
  bytes += payload;
  if (auto written = os::pwrite_all(segment.fd.get(), bytes, segment.size); !written) {
    if (ftruncate(segment.fd.get(), static_cast<off_t>(segment.size)) != 0) return written.error();
    return written;
  }
  segment.size += bytes.size();
  ++segment.records;
  segment.items += items;
  bytes_ += bytes.size();
  ++records_;
  items_ += items;
  ++tallies_.pushed;
  while (bytes_ > limits_.bytes && segments_.size() > 1) {
    tallies_.dropped_records += segments_.front().records;
    tallies_.dropped_items += segments_.front().items;
    drop_first();
  }
  return {};
}

std::optional<Spill::Record> Spill::front() {
  while (!segments_.empty()) {
    const Segment& segment = segments_.front();
    const auto head = segment.records > 0 ? head_at(segment, read_offset_) : std::nullopt;
    if (!head) {  // nothing more, or what follows cannot be read
      tallies_.damaged_records += segment.records;
      tallies_.damaged_items += segment.items;
      drop_first();
      continue;
    }
    auto payload = os::pread_some(segment.fd.get(), head->length, read_offset_ + sizeof(Head));
    if (payload && payload->size() == head->length &&
        checksum_of(head->length, head->items, *payload) == head->checksum) {
      return Record{std::move(*payload), head->items};
    }
    ++tallies_.damaged_records;
    tallies_.damaged_items += head->items;
    step(*head);
  }
  return std::nullopt;
}

void Spill::pop() {
  if (segments_.empty() || segments_.front().records == 0) return;
  const auto head = head_at(segments_.front(), read_offset_);
  if (!head) return;
  ++tallies_.popped;
  step(*head);
}

// Past the first record.
void Spill::step(const Head& head) {
  Segment& segment = segments_.front();
  read_offset_ += sizeof head + head.length;
  --segment.records;
  --records_;
  const std::uint64_t items = std::min<std::uint64_t>(head.items, segment.items);
  segment.items -= items;
  items_ -= items;
  if (segment.records == 0) {
    drop_first();
  } else {
    save_position();
  }
}

void Spill::drop_first() {
  Segment& segment = segments_.front();
  bytes_ -= segment.size;
  records_ -= segment.records;
  items_ -= segment.items;
  const std::string path = path_of(segment.number);
  read_segment_ = segment.number + 1;
  read_offset_ = 0;
  segments_.pop_front();
  if (!segments_.empty()) read_segment_ = segments_.front().number;
  save_position();  // first: a segment that is left behind is removed at the next start
  unlink(path.c_str());
}

// On failure what was taken is taken again after our death, which resends it.
void Spill::save_position() {
  Position position;
  position.segment = segments_.empty() ? read_segment_ : segments_.front().number;
  position.offset = read_offset_;
  position.checksum = checksum_of(position);
  (void)os::pwrite_all(position_.get(), {reinterpret_cast<const char*>(&position), sizeof position}, 0);
}

namespace {

struct Meta {
  ChildKey worker;
  std::uint8_t signal = 0;
  std::uint32_t items = 0;
  bool may_have_arrived = false;
  template <class A>
  void fields(A& a) {
    a("worker", worker);
    a("signal", signal);
    a("items", items);
    a("may_have_arrived", may_have_arrived);
  }
};

}  // namespace

std::string pack(const Parcel& parcel) {
  const Meta meta{parcel.worker, static_cast<std::uint8_t>(parcel.request.signal), parcel.request.items,
                  parcel.may_have_arrived};
  std::string bytes = to_binary(meta);
  bytes += parcel.request.bytes;
  return bytes;
}

std::optional<Parcel> unpack(std::string_view bytes) {
  Meta meta;
  BinaryReader in(bytes);
  in.get(meta);
  if (!in.ok() || meta.signal >= kSignals) return std::nullopt;
  Parcel parcel;
  parcel.worker = meta.worker;
  parcel.may_have_arrived = meta.may_have_arrived;
  parcel.request = {static_cast<Signal>(meta.signal), std::string(in.rest()), meta.items};
  return parcel;
}

}  // namespace runmain::telemetry
