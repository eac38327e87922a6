// The supervisor's own spans go where everybody's go: into a mailbox (child_runtime/mailbox.h), written by
// the same code as a child's (child_runtime/mailbox_writer.hpp).
//
// Invariant: writing waits for nobody; what finds no room is counted in the lane. Requires that no other
// thread writes. A process that dies leaves its lane to the reader. Non-goal: what the spans say
// (lifecycle.hpp).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "child_runtime/mailbox.h"
#include "os/linux/fd.hpp"

namespace runmain::telemetry {

class LaneWriter {
 public:
  // Takes a lane of the mailbox. `resource`: the bytes of an OTLP Resource; `scope`: the name of the
  // instrumentation scope. On failure the errno, ENOSPC if no lane is free.
  static Result<LaneWriter> open(os::UniqueFd memfd, os::UniqueFd wake, std::string_view resource,
                                 const std::string& scope);

  LaneWriter(LaneWriter&&) noexcept;
  LaneWriter& operator=(LaneWriter&&) noexcept;
  ~LaneWriter();

  // Appends an OTLP Span. False: there was no room, and it is counted as lost.
  bool write_span(std::string_view bytes);
  // The same of an OTLP LogRecord, or a Metric. What is lost of them is not in the ledger, and counted here.
  bool write_log(std::string_view bytes) { return write_other(RUNMAIN_RECORD_LOG, bytes); }
  bool write_metric(std::string_view bytes) { return write_other(RUNMAIN_RECORD_METRIC, bytes); }
  std::uint64_t others_lost() const { return others_lost_; }

 private:
  struct Impl;
  explicit LaneWriter(std::unique_ptr<Impl> impl);
  bool write_other(std::uint16_t kind, std::string_view bytes);
  bool write(std::uint16_t kind, std::string_view bytes);

  std::unique_ptr<Impl> impl_;
  std::uint64_t others_lost_ = 0;
};

}  // namespace runmain::telemetry
