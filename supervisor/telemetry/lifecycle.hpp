// The lifecycle as traces: what the core tells becomes spans. A reload is one trace (settle, build, the start
// of each worker, the drain and flush of each old one), and so are a first start, a restart after a crash or
// a recycling, and a stop.
//
// The ids are derived (base/identity.hpp): a child knows its parent by TRACEPARENT before that span has
// ended, and a new head finds them again. Invariant: a value; no clock, no I/O; bounded by kLifecycleOpenMax
// things in progress. What was in progress when a head died is told from its successor's first fact on.
// Thread: one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/identity.hpp"
#include "base/time.hpp"
#include "core/effect.hpp"

namespace runmain::telemetry {

inline constexpr std::size_t kLifecycleOpenMax = 16384;  // children and services in progress
inline constexpr std::size_t kChangedFilesMax = 32;      // named of a reload; the others are counted

struct LifecycleSpan {
  using Value = std::variant<std::string, std::int64_t, bool, std::vector<std::string>>;
  SpanIdentity id;
  SpanIdentity parent;  // its span: zero for a root
  std::string name;
  Time start{};
  Time end{};
  std::vector<std::pair<std::string, Value>> attributes;
  std::vector<SpanIdentity> links;
  bool error = false;
  std::string message;
};

// The bytes of an OTLP Span. `wall`: nanoseconds since 1970 at Time{}.
std::string to_otlp(const LifecycleSpan& span, std::int64_t wall);

class Lifecycle {
 public:
  using NameOf = std::function<std::string(ServiceId)>;
  // `outer`: the span in which runmain was started; first starts are linked to it.
  Lifecycle(std::string secret, NameOf name_of, std::optional<SpanIdentity> outer = {});

  // Files of a service have changed; before the facts that follow from it.
  void on_change(ServiceId service, const std::vector<std::string>& paths, std::uint32_t count, Time now);
  void on_fact(const core::Fact& fact);

  // The spans that have ended since.
  std::vector<LifecycleSpan> take() { return std::exchange(ended_, {}); }
  std::uint64_t dropped() const { return dropped_; }  // over kLifecycleOpenMax

 private:
  // A reload or first start under way.
  struct Coming {
    Time since = kNever;
    Time build = kNever;  // since when it builds
    ChildKey build_key;
    Time launch = kNever;
    std::uint32_t generation = 0;
    bool first = false;  // a start, no reload
    std::vector<std::string> files;
    std::uint64_t file_count = 0;
  };
  struct Worker {
    std::uint32_t attempt = 0;
    Time started = kNever;
    Time restarts = kNever;  // since the one before it was gone
    Time drained = kNever;
    bool ready = false;
  };
  using Place = std::pair<ServiceId, std::uint32_t>;  // service, slot
  struct Service {
    Coming coming;
    SpanIdentity latest;  // root of the latest generation's coming
    std::uint32_t generation = 0;
    Time stopping = kNever;
    SpanIdentity stop;
  };

  Service* at(ServiceId service);
  void begin_coming(Service& service, Time now);
  void build_failed(Service& service, const core::Fact& fact);
  void coming_ended(Service& service, const core::Fact& fact, bool error);
  void child_started(const core::Fact& fact);
  void child_came(const core::Fact& fact, bool ready);
  void child_gone(const core::Fact& fact);
  void stopped(Service& service, const core::Fact& fact);
  LifecycleSpan span(const core::Fact& fact, const SpanIdentity& id, const SpanIdentity& parent,
                     std::string name, Time start) const;
  void add(LifecycleSpan span) { ended_.push_back(std::move(span)); }

  std::string secret_;
  NameOf name_of_;
  std::optional<SpanIdentity> outer_;
  std::map<ServiceId, Service> services_;
  std::map<std::pair<Place, std::uint32_t>, Worker> workers_;  // by place and generation
  std::map<Place, Time> gone_;                                 // slots that wait for their next worker
  std::vector<LifecycleSpan> ended_;
  std::uint64_t dropped_ = 0;
};

}  // namespace runmain::telemetry
