// A blocking client's connection to a unix socket where each side says lines, with a deadline on every step.
//
// Invariant: a line that comes is bounded. Error.code of connect(): ENOENT and ECONNREFUSED where nobody
// listens; of the others those of LineFaults. Thread: one. Non-goal: what the lines say.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.hpp"
#include "base/time.hpp"
#include "os/linux/fd.hpp"

namespace runmain::control {

// CLOCK_MONOTONIC now plus this; no limit: kNever.
Time deadline_after(Duration limit);

// What is said of the other side where it fails.
struct LineFaults {
  Error slow;      // ETIMEDOUT
  Error ended;     // ECONNRESET
  Error too_long;  // a line of more than the limit
};

class LineConnection {
 public:
  static Result<LineConnection> connect(const std::string& path, Time deadline, std::size_t line_max,
                                        LineFaults faults);

  // `line` ends with its newline.
  Result<void> send(const std::string& line, Time deadline);
  // The next line, without its newline.
  Result<std::string> read(Time deadline);

  // For poll(2) beside other fds.
  int fd() const { return fd_.get(); }

 private:
  LineConnection(os::UniqueFd fd, std::size_t line_max, LineFaults faults)
      : fd_(std::move(fd)), line_max_(line_max), faults_(std::move(faults)) {}
  Result<void> wait_for(short events, Time deadline) const;

  os::UniqueFd fd_;
  std::size_t line_max_;
  LineFaults faults_;
  std::string in_;
  std::size_t taken_ = 0;    // bytes of in_ that were returned
  std::size_t scanned_ = 0;  // … and that hold no further newline
};

}  // namespace runmain::control
