// The client side of the control socket: blocking, with a deadline on every step.
//
// Invariant: a fault of the connection and an error that the other side answered are told apart by Error.code
// of call(): ECONNREFUSED and ENOENT nothing runs there, ETIMEDOUT too slow, ECONNRESET it ended meanwhile, 0
// answered. Thread: one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "control/line_connection.hpp"
#include "control/protocol.hpp"

namespace runmain::control {

class Client {
 public:
  // Connects to the control socket at `path`. On failure Error.code as above.
  static Result<Client> connect(const std::string& path, Time deadline = kNever);

  struct Answer {
    bool ok = false;
    Json value;        // of "ok"
    std::string code;  // of "error"
    Error error;
    Json output;  // of "error": the last lines of what failed, as items of logs; null: none
  };
  // One request and its answer; items that come before it go to `on_item`, which returns false to hang up
  // (then the answer is ok and null). On failure the connection is of no more use.
  Result<Answer> call(const std::string& verb, const Json& args, Time deadline = kNever,
                      const std::function<bool(const Json&)>& on_item = nullptr);

  // For poll(2) beside other fds.
  int fd() const { return connection_.fd(); }

 private:
  explicit Client(LineConnection connection) : connection_(std::move(connection)) {}

  LineConnection connection_;
  std::uint64_t last_id_ = 0;
};

}  // namespace runmain::control
