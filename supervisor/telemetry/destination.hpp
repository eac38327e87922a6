// One OTLP/HTTP destination as a value: which request goes out when, and what an answer means. Follows the
// OTLP specification's "OTLP/HTTP" (opentelemetry.md, 44 to 47) and RFC 9110 (Retry-After).
//
// Invariant: no I/O, no clock; times are given. Every parcel ends as exported, rejected or overflow, once.
// The queue is bounded in bytes. A failure is told once, and so is its end. Non-goal: connections
// (http_sender.hpp).
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "telemetry/batch.hpp"
#include "telemetry/ledger.hpp"

namespace runmain::telemetry {

inline constexpr std::size_t kAnswerBytesMax = 4U << 20U;  // after decompression: more is not retried (44)

struct DestinationLimits {
  std::size_t queue_bytes = 32U << 20U;  // what is in flight included
  std::uint32_t in_flight = 1;           // one while it fails
  Duration backoff_first = std::chrono::seconds(1);
  Duration backoff_max = std::chrono::seconds(30);
  Duration retry_after_max = std::chrono::minutes(15);  // nobody makes us wait longer
  Duration tell_again = std::chrono::minutes(1);        // of rejected requests, when nothing has changed
};

// A request and whose it is.
struct Parcel {
  ChildKey worker;
  Request request;
  bool may_have_arrived = false;  // was in flight when an observer died
  bool resend_told = false;       // and that it goes out again was told before that
  std::uint64_t number = 0;       // in a spill; 0: in none
  std::uint64_t run = 0;          // of runmain: its keys mean something in it only
};

// How an attempt has ended.
struct Answer {
  enum class How : std::uint8_t {
    answered,       // `status` is there
    no_connection,  // nothing was sent
    cut_off,        // no whole answer: it may have arrived
    too_long,       // more than kAnswerBytesMax
  };
  How how = How::answered;
  int status = 0;
  bool json = false;        // the body's type
  std::string retry_after;  // the field's value
  std::string body;
  std::string error;  // in words, where there is no answer
};

struct DestinationFact {
  enum class Type : std::uint8_t {
    exported,  // `items`
    rejected,  // `items`
    resent,    // `items` go out again and may have arrived before
    fails,     // once: "Connection refused, retrying"
    recovers,  // once: "after 12 s and 4 attempts"
    warns,     // of what is rejected, or what the destination says
    finished,  // the parcel with this `number` has gone where it goes; the last fact of it
    dropped,   // `items`, for this `reason`; not by a Destination
  };
  Type type = Type::exported;
  ChildKey worker{};
  Signal signal = Signal::traces;
  std::uint64_t items = 0;
  std::string text{};
  std::uint64_t number = 0;
  Drop reason = Drop::queue_full;
};

class Destination {
 public:
  // `name`: for people, such as its address. `seed`: of the jitter.
  Destination(std::string name, DestinationLimits limits, std::uint64_t seed);

  // Takes a parcel. Returns those for which there is no room: the oldest ones that are not in flight.
  [[nodiscard]] std::vector<Parcel> offer(Parcel parcel);

  struct Attempt {
    std::uint64_t id = 0;
    const Request* request = nullptr;  // until its answer
  };
  // What is to be sent now. Each attempt gets one answer.
  std::optional<Attempt> next(Time now, std::vector<DestinationFact>& facts);
  // `wall_seconds`: since 1970, for a Retry-After that is a date. An unknown id is ignored.
  void answer(std::uint64_t id, const Answer& answer, Time now, std::int64_t wall_seconds,
              std::vector<DestinationFact>& facts);
  // When next() is worth asking again, kNever if only an answer or a parcel changes that.
  Time next_deadline() const;

  // Gives everything away, what is in flight as well: may_have_arrived.
  std::vector<Parcel> take_all();

  // How many items of each worker are in no spill: they are lost with us.
  std::map<ChildKey, std::uint64_t> unspilled() const;
  // These are given up. Requires that nobody sends one of them any more.
  std::map<ChildKey, std::uint64_t> give_up_unspilled();

  const std::string& name() const { return name_; }
  bool failing() const { return failures_ > 0; }
  std::size_t bytes() const { return bytes_; }
  std::size_t parcels() const { return entries_.size(); }
  // Room for a parcel that was spilled: half the queue is empty.
  bool has_room() const { return bytes_ <= limits_.queue_bytes / 2; }

 private:
  struct Entry {
    std::uint64_t id = 0;
    Parcel parcel;
    bool in_flight = false;
  };
  using Facts = std::vector<DestinationFact>;

  void taken(const Entry& entry, const Answer& answer, Time now, Facts& facts);
  void refused(const Entry& entry, const Answer& answer, Time now, Facts& facts);
  void retry(Entry& entry, const Answer& answer, Time now, std::int64_t wall_seconds, Facts& facts);
  // "NAME rejects 3 spans" (`what`) ": HTTP 404" (`why`).
  void warn(const Entry& entry, const std::string& what, const std::string& why, int status, Time now,
            Facts& facts);
  void recovered(Time now, Facts& facts);
  double random();

  std::string name_;
  DestinationLimits limits_;
  std::uint64_t random_state_;
  std::list<Entry> entries_;
  std::size_t unspilled_ = 0;  // of these
  std::size_t bytes_ = 0;
  std::uint32_t in_flight_ = 0;
  std::uint64_t last_id_ = 0;
  std::uint32_t failures_ = 0;  // in a row
  Time failing_since_{};
  Time not_before_{};
  std::string warned_;  // why
  Time warned_at_ = kNever;
};

// Of RFC 9110: seconds, or a date in one of its three forms. Nothing if it is neither; 0 if it is past.
std::optional<std::chrono::seconds> parse_retry_after(const std::string& text, std::int64_t wall_seconds);

bool is_retryable(int status);

}  // namespace runmain::telemetry
