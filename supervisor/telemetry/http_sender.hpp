// Sends requests to one OTLP/HTTP endpoint by libcurl, on the event loop. Follows the OTLP specification's
// "OTLP/HTTP" (opentelemetry.md, 43, 44).
//
// Invariant: nothing blocks but the compression; each request gets one Answer, unless the sender dies first.
// No proxy of the environment is used, no redirection followed. Thread: the loop's. Non-goal: retrying
// (destination.hpp).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.hpp"
#include "os/loop/loop.hpp"
#include "telemetry/batch.hpp"
#include "telemetry/destination.hpp"
#include "telemetry/endpoint.hpp"

namespace runmain::telemetry {

class HttpSender {
 public:
  using Done = std::function<void(std::uint64_t id, const Answer& answer)>;

  // On failure libcurl has no memory. `done` may send again, and must not destroy the sender.
  static Result<std::unique_ptr<HttpSender>> make(os::Loop& loop, Endpoint endpoint, Done done);
  ~HttpSender();
  HttpSender(const HttpSender&) = delete;
  HttpSender& operator=(const HttpSender&) = delete;

  // `request` stays the caller's until its answer.
  void send(std::uint64_t id, const Request& request);
  std::size_t in_flight() const;

 private:
  struct Impl;
  explicit HttpSender(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace runmain::telemetry
