// A conversation with the observer at RUNTIME_DIR/observer: one JSON object a line, each way; blocking, with
// a deadline on every step.
//
// Invariant: what comes is bounded (kLineMax, nesting as control/protocol.hpp says). Error.code: ENOENT and
// ECONNREFUSED there is no observer, ETIMEDOUT too slow, ECONNRESET it ended meanwhile, EPROTO it says
// something else. Thread: one.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.hpp"
#include "base/time.hpp"
#include "control/line_connection.hpp"
#include "control/protocol.hpp"

namespace runmain::cli {

class ObserverLink {
 public:
  static constexpr std::size_t kLineMax = 16U << 20U;  // bytes of one that comes

  static Result<ObserverLink> connect(const std::string& path, Time deadline);

  Result<void> ask(const control::Json& question, Time deadline);
  // The next object.
  Result<control::Json> next(Time deadline);

 private:
  explicit ObserverLink(control::LineConnection connection) : connection_(std::move(connection)) {}

  control::LineConnection connection_;
};

}  // namespace runmain::cli
