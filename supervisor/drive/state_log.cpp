#include "drive/state_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/named_archive.hpp"
#include "os/linux/fd.hpp"

namespace runmain::drive {
namespace {

constexpr std::uint32_t kMagic = 0x4c534d52;  // "RMSL"
constexpr std::uint64_t kHeaderBytes = 4096;
constexpr std::uint64_t kAreaBytes = 256ULL << 20U;  // sparse; far above any checkpoint and log
constexpr std::uint32_t kFrameMax = 128U << 20U;

struct Header {
  std::uint32_t magic = kMagic;
  std::uint32_t version = 1;
  std::uint64_t epoch = 0;
};

struct FrameHead {
  std::uint32_t length = 0;
  std::uint32_t check = 0;
};

// FNV-1a over 8-byte words, seeded with the epoch: it must notice torn and stale frames, not an enemy.
std::uint32_t checksum(std::string_view bytes, std::uint64_t epoch) {
  std::uint64_t h = 0xcbf29ce484222325ULL ^ (epoch * 0x9e3779b97f4a7c15ULL);
  while (!bytes.empty()) {
    std::uint64_t word = 0;
    const std::size_t n = std::min<std::size_t>(8, bytes.size());
    std::memcpy(&word, bytes.data(), n);
    h = (h ^ word ^ (n << 56U)) * 0x100000001b3ULL;
    h ^= h >> 29U;
    bytes.remove_prefix(n);
  }
  return static_cast<std::uint32_t>(h ^ (h >> 32U));
}

Result<void> check_version(std::string_view payload) {
  struct Version {
    std::uint32_t version = 0;
    void fields(NamedReader& a) { a("version", version); }
  } written;
  if (!from_named(payload, written)) return Error{"the state log's checkpoint cannot be read"};
  if (reads_state_version(written.version)) return {};
  return Error{"the state log is of version " + std::to_string(written.version) +
               ", this program reads those next to " + std::to_string(state_version())};
}

}  // namespace

std::uint64_t StateLog::area(std::uint64_t epoch) const { return kHeaderBytes + (epoch % 2) * kAreaBytes; }

std::string StateLog::frame(const std::string& payload, std::uint64_t epoch) const {
  const FrameHead head{static_cast<std::uint32_t>(payload.size()), checksum(payload, epoch)};
  std::string out(reinterpret_cast<const char*>(&head), sizeof head);
  out += payload;
  return out;
}

Result<std::optional<StateLog::Recovered>> StateLog::recover() {
  auto raw = os::pread_some(fd_, sizeof(Header), 0);
  if (!raw) return raw.error();
  if (raw->empty()) return std::optional<Recovered>();
  Header header;
  if (raw->size() < sizeof header) return Error{"the state log's header is torn"};
  std::memcpy(&header, raw->data(), sizeof header);
  if (header.magic != kMagic || header.version != 1) return Error{"the state log is of another version"};
  Recovered found;
  bool first = true;
  std::uint64_t at = 0;
  for (;; first = false) {
    auto head_bytes = os::pread_some(fd_, sizeof(FrameHead), area(header.epoch) + at);
    if (!head_bytes) return head_bytes.error();
    FrameHead head;
    if (head_bytes->size() < sizeof head) break;
    std::memcpy(&head, head_bytes->data(), sizeof head);
    if (head.length == 0 || head.length > kFrameMax) break;
    auto payload = os::pread_some(fd_, head.length, area(header.epoch) + at + sizeof head);
    if (!payload) return payload.error();
    if (payload->size() < head.length || checksum(*payload, header.epoch) != head.check) break;
    if (first) {
      // Its version first: the rest may have what is not known here.
      if (auto readable = check_version(*payload); !readable) return readable.error();
      if (!from_named(*payload, found.checkpoint)) return Error{"the state log's checkpoint cannot be read"};
    } else {
      NamedReader in(*payload);
      while (in.ok() && !in.done()) in.get(found.events.emplace_back());
      if (!in.ok()) return Error{"the state log's events cannot be read"};
    }
    at += sizeof head + head.length;
  }
  if (first) return Error{"the state log has no checkpoint"};
  started_ = true;
  epoch_ = header.epoch;
  end_ = at;
  limit_ = kLogMin + at;
  return std::optional<Recovered>(std::move(found));
}

void StateLog::append(const LoggedEvent& event) { NamedWriter(pending_).put(event); }

Result<void> StateLog::flush() {
  if (pending_.empty() || !started_) {
    pending_.clear();  // before the first checkpoint there is nothing to add to: the checkpoint has it all
    return {};
  }
  const std::string bytes = frame(pending_, epoch_);
  if (auto written = os::pwrite_all(fd_, bytes, area(epoch_) + end_); !written) return written.error();
  end_ += bytes.size();
  pending_.clear();
  if (pending_.capacity() > kLogMin) pending_.shrink_to_fit();
  return {};
}

Result<void> StateLog::write(const Checkpoint& checkpoint) {
  const std::uint64_t next = epoch_ + 1;
  fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(area(next)),
            static_cast<off_t>(kAreaBytes));
  const std::string bytes = frame(to_named(checkpoint), next);
  if (auto written = os::pwrite_all(fd_, bytes, area(next)); !written) return written.error();
  const Header header{kMagic, 1, next};
  const std::string named(reinterpret_cast<const char*>(&header), sizeof header);
  if (auto written = os::pwrite_all(fd_, named, 0); !written) return written.error();
  fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(area(epoch_)),
            static_cast<off_t>(kAreaBytes));
  epoch_ = next;
  started_ = true;
  end_ = bytes.size();
  limit_ = kLogMin + 4 * end_;
  return {};
}

}  // namespace runmain::drive
