#include "telemetry/lane_writer.hpp"

#include <unistd.h>

#include <cstring>
#include <protozero/pbf_writer.hpp>

#include "child_runtime/mailbox_writer.hpp"
#include "os/linux/proc.hpp"
#include "telemetry/mailbox_layout.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::size_t kScopeHead = 2 * sizeof(std::uint32_t);  // index of the scope, 0

std::size_t size_of_record(std::string_view bytes) {
  return padded(sizeof(runmain_record) + kScopeHead + bytes.size());
}

}  // namespace

struct LaneWriter::Impl {
  os::UniqueFd memfd;
  os::UniqueFd wake;
  child::Mailbox mailbox{};
  child::Lane lane{};
  std::uint32_t scope = 0;
};

LaneWriter::LaneWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LaneWriter::LaneWriter(LaneWriter&&) noexcept = default;
LaneWriter& LaneWriter::operator=(LaneWriter&&) noexcept = default;
LaneWriter::~LaneWriter() {
  if (impl_) child::close_lane(impl_->lane);
}

Result<LaneWriter> LaneWriter::open(os::UniqueFd memfd, os::UniqueFd wake, std::string_view resource,
                                    const std::string& scope) {
  auto impl = std::make_unique<Impl>();
  impl->memfd = std::move(memfd);
  impl->wake = std::move(wake);
  const auto self = os::process_state(getpid());
  const std::uint64_t started = self && self->started != 0 ? self->started : 1;  // 0: it is being taken
  const int error = child::open_mailbox(impl->mailbox, impl->memfd.get(), impl->wake.get(), started);
  if (error != 0) {
    return Error::from_errno("mailbox", -error);
  }
  if (!child::take_lane(impl->mailbox, impl->lane, false, resource.data(), resource.size())) {
    return Error::from_errno("mailbox: no lane is free", ENOSPC);
  }
  std::string entry(8, '\0');  // no schema address
  protozero::pbf_writer message(entry);
  message.add_string(1, scope);
  impl->scope = child::add_entry(impl->lane, RUNMAIN_ENTRY_SCOPE, entry.data(), entry.size());
  return LaneWriter(std::move(impl));
}

bool LaneWriter::write_span(std::string_view bytes) {
  child::Lane& lane = impl_->lane;
  child::count(lane, lane.lines->started);
  const bool written = write(RUNMAIN_RECORD_SPAN, bytes);
  if (!written) {
    const bool too_big = size_of_record(bytes) > RUNMAIN_RECORD_MAX;
    child::count(lane, lane.lines->lost[too_big ? RUNMAIN_LOST_TOO_BIG : RUNMAIN_LOST_FULL]);
    child::count(lane, lane.lines->ended);
  }
  return written;
}

bool LaneWriter::write_other(std::uint16_t kind, std::string_view bytes) {
  const bool written = write(kind, bytes);
  if (!written) ++others_lost_;
  return written;
}

bool LaneWriter::write(std::uint16_t kind, std::string_view bytes) {
  child::Lane& lane = impl_->lane;
  const std::size_t size = size_of_record(bytes);
  if (size > RUNMAIN_RECORD_MAX) return false;
  std::uint8_t* at = child::reserve_record(lane, size);
  if (at == nullptr) return false;
  const runmain_record head{static_cast<std::uint32_t>(kScopeHead + bytes.size()), kind, 0, 0, 0};
  const std::uint32_t scope[2] = {impl_->scope, 0};
  std::memset(at + size - RUNMAIN_RECORD_ALIGN, 0, RUNMAIN_RECORD_ALIGN);  // what pads
  std::memcpy(at, &head, sizeof head);
  std::memcpy(at + sizeof head, scope, sizeof scope);
  std::memcpy(at + sizeof head + sizeof scope, bytes.data(), bytes.size());
  child::publish_record(lane, size);
  if (kind == RUNMAIN_RECORD_SPAN) child::count(lane, lane.lines->ended);
  child::wake_if_asleep(impl_->mailbox);  // last: who wakes up reads the counts
  return true;
}

}  // namespace runmain::telemetry
