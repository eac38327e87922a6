// The OTLP/HTTP receiver on loopback, for the programs that runmain runs: takes what their exporters send and
// answers once it is kept.
//
//     Receiver receiver(loop, std::move(listener), secret, [&](const Received& r, std::function<void()>
//     saved) {
//       if (no room) return Taken::full;               // 503; nothing of it counts, the client comes again
//       … copy r.items; r.invalid are dropped as invalid …
//       when it is on disk: saved();                   // now or later: 200
//       return Taken::ok;
//     });
//
// Invariant: nothing blocks. Who shows no token of this runmain is not read: its body is held nowhere.
// Clients, bytes held, the time for a request, for an answer and between requests have bounds. `saved` may be
// called at any time, from within the call, twice, or when the receiver is gone. Thread: the loop's.
// Non-goal: what is done with the items (duplicates.hpp, outbox.hpp); TLS; gRPC.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"
#include "telemetry/item.hpp"
#include "telemetry/otlp_http.hpp"
#include "telemetry/otlp_intake.hpp"

namespace runmain::telemetry {

struct Received {
  ChildKey worker;
  Signal signal = Signal::traces;
  std::span<const Item> items;   // sound; views for the time of the call
  std::uint64_t invalid = 0;     // were not sound, and are told to the client
  std::uint64_t repaired = 0;    // of `items`
  std::uint64_t connection = 0;  // its number: two exporters have two
  std::uint64_t request = 0;     // its number, over all connections
  std::uint16_t peer_port = 0;   // of TCP, at the other end of the connection; 0: unknown
};

enum class Taken : std::uint8_t { ok, full };
using Take = std::function<Taken(const Received&, std::function<void()> saved)>;

struct ReceiverLimits {
  std::size_t clients = 256;
  std::size_t held = 64U << 20U;  // bytes of all bodies
  Duration request = std::chrono::seconds(10);
  Duration answer = std::chrono::seconds(10);  // until `saved`, and again until the client has read it
  Duration idle = std::chrono::seconds(150);   // more than twice the 60 s between two exports of metrics
  Duration linger = std::chrono::seconds(2);   // for what still comes of a request that was refused
  HttpLimits http;
  OtlpLimits otlp;
};

struct ReceiverCounters {
  std::uint64_t connections = 0;
  std::uint64_t requests = 0;  // that were taken
  std::uint64_t full = 0;      // the taker or our memory was
  std::uint64_t late = 0;      // was not saved in time
  std::uint64_t no_token = 0;
  std::uint64_t foreign_token = 0;
  std::uint64_t refused = 0;   // path, method, media
  std::uint64_t bad_http = 0;  // framing, limits
  std::uint64_t bad_data = 0;  // no OTLP, or nothing of it could be taken
  std::uint64_t grpc = 0;      // of bad_http
  std::uint64_t slow = 0;      // gave no whole request, or did not read its answer
  std::uint64_t evicted = 0;   // idle, for another
};

class Receiver {
 public:
  // `listener` is a listening stream socket, non-blocking; it is closed with this, which ends nothing for
  // others that have it.
  Receiver(os::Loop& loop, os::UniqueFd listener, std::string secret, Take take, ReceiverLimits limits = {});
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  // Accepts no more, and closes what waits for a request; a request that has begun gets its answer.
  void retire();

  const ReceiverCounters& counters() const { return counters_; }
  // The last one that was not taken, for a person: "401 POST /v1/traces (OTel-OTLP-Exporter-Python/1.45.2)".
  // Harmless text, and bounded.
  const std::string& last_refusal() const { return last_refusal_; }
  std::size_t clients() const { return clients_.size(); }
  std::size_t held() const { return held_; }  // bytes

 private:
  struct Client;
  using Clients = std::map<std::uint64_t, std::unique_ptr<Client>>;
  struct Link;

  void accept_some();
  bool make_room();
  void on_ready(std::uint64_t number, int events);
  void read_some(Client& client);
  void go_on(Client& client);
  bool step(Client& client);
  void feed(Client& client);
  void hold(Client& client, std::size_t bytes);
  void begin_request(Client& client);
  void end_request(Client& client);
  void take(Client& client, const OtlpCall& call);
  void on_saved(std::uint64_t number, std::uint64_t request);
  void on_broken(Client& client);
  void respond(Client& client, const OtlpAnswer& answer, bool keeps_alive);
  void write_some(Client& client);
  void after_answer(Client& client);
  void on_timer();
  void on_deadline(Client& client);
  void tidy();

  os::Loop& loop_;
  os::UniqueFd listener_;
  std::string secret_;
  Take take_;
  ReceiverLimits limits_;
  ReceiverCounters counters_;
  std::string last_refusal_;
  std::uint64_t last_client_ = 0;
  std::uint64_t last_request_ = 0;
  std::size_t held_ = 0;
  bool retired_ = false;
  bool busy_ = false;  // clients are being walked: none may go
  std::string buffer_;
  Clients clients_;
  std::shared_ptr<Link> link_;           // what `saved` has of us
  std::unique_ptr<os::Poll> accepting_;  // none once retired
  Time accept_again_{};
  std::unique_ptr<os::Timer> timer_;
};

}  // namespace runmain::telemetry
