// An Observer as its keeper would have it: with a cell, a folder, mailboxes and a collector, through any
// number of deaths.
#pragma once

#include <sys/eventfd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>

#include "collector.hpp"
#include "mailbox_world.hpp"
#include "os/linux/memfd_cell.hpp"
#include "telemetry/gzip.hpp"
#include "telemetry/observer.hpp"
#include "telemetry/otlp_wire.hpp"

namespace runmain::telemetry::test {

struct TestFolder {
  std::string path = "/tmp/runmain-observer-XXXXXX";
  TestFolder() { REQUIRE(mkdtemp(path.data()) != nullptr); }
  ~TestFolder() { std::filesystem::remove_all(path); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
};

inline os::UniqueFd make_cell() {
  auto cell = os::make_memfd("test-cursors", 0);
  REQUIRE(cell.ok());
  return std::move(*cell);
}

inline os::UniqueFd make_wake() { return os::UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

// The bytes of all items that a collector has got, in the order of their coming.
inline std::vector<std::string> items_of(const std::vector<Collector::Seen>& seen,
                                         Signal signal = Signal::traces) {
  static constexpr const char* kPaths[] = {"POST /v1/traces", "POST /v1/metrics", "POST /v1/logs"};
  std::vector<std::string> all;
  for (const Collector::Seen& one : seen) {
    if (!one.head.starts_with(kPaths[static_cast<std::size_t>(signal)])) continue;
    const Keep keep = [](std::string) { return std::string_view(); };
    REQUIRE(each_item(signal, one.body, keep, [&](const Item& item) { all.emplace_back(item.bytes); }).ok());
  }
  return all;
}

// How often each one came.
inline std::map<std::string, int> arrivals(const Collector& collector) {
  std::map<std::string, int> count;
  for (const std::string& item : items_of(collector.seen())) ++count[item];
  return count;
}

inline Item item_of(const std::string& span, const std::string& resource) {
  Item item;
  item.bytes = span;
  item.origin.resource = resource;
  const Checked found = check(kSpan, span);
  REQUIRE(found.valid());
  item.ids = found.ids;
  return item;
}

const ChildKey kWeb{ServiceId{1}, 0, 3, 1};

inline const Collector::Behave kTakesAll = [](const Collector::Seen&, std::size_t) {
  return answer_text("200 OK", "", "");
};

inline Collector::Behave answers(std::vector<std::string> first) {
  return [first = std::move(first)](const Collector::Seen&, std::size_t number) {
    return number <= first.size() ? first[number - 1] : answer_text("200 OK", "", "");
  };
}

struct ObserverScene {
  TestFolder folder;
  os::Loop loop;
  os::UniqueFd cell = make_cell();
  ObserverConfig config;
  ObserverLimits limits;
  std::vector<ObserverFact> facts;
  std::vector<ChildKey> read;  // MailboxRead
  bool finished = false;
  std::unique_ptr<Observer> observer;

  explicit ObserverScene(const std::string& endpoint) {
    std::signal(SIGPIPE, SIG_IGN);
    config.secret = "0123456789abcdef";
    config.folder = folder.path + "/spill";
    if (!endpoint.empty()) {
      config.destinations = {{endpoint, {"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint}}};
    }
    config.services = {{kWeb.service, "web", endpoint.empty() ? kNoDestination : 0}};
    limits.outbox.destination.backoff_first = std::chrono::milliseconds(20);
    limits.outbox.destination.backoff_max = std::chrono::milliseconds(100);
    limits.gap_dev = std::chrono::milliseconds(1);
    limits.gap_busy = std::chrono::milliseconds(1);
    limits.save_share = 1;
  }

  // A new observer in the place of the one before, told of all mailboxes.
  void start() {
    observer.reset();
    observer = std::make_unique<Observer>(
        loop,
        Observer::Says{[this](const ChildKey& key) { read.push_back(key); }, [this] { finished = true; }},
        limits);
    observer->on_fact([this](const ObserverFact& fact) { facts.push_back(fact); });
    observer->on_welcome(dup_of(cell));
    observer->on_configuration(config);
  }
  void mailbox(const World& world, const os::UniqueFd& wake, const ChildKey& key = kWeb,
               std::int32_t pid = 100) const {
    observer->on_mailbox({key, "web", "instance-1", pid}, dup_of(world.fd), dup_of(wake));
  }

  template <class F>
  bool wait(F&& until, Duration at_most = std::chrono::seconds(20)) {
    for (const Time end = os::Loop::now() + at_most; !until();) {
      if (os::Loop::now() >= end) return false;
      loop.turn(std::chrono::milliseconds(10));
    }
    return true;
  }
  bool was_read(const ChildKey& key = kWeb) const {
    return std::find(read.begin(), read.end(), key) != read.end();
  }

  Ledger ledger(const ChildKey& key = kWeb) const {
    for (const LedgerLine& line : observer->status().ledgers) {
      if (line.worker == key) return line.ledger;
    }
    return {};
  }
  std::uint64_t dropped(Drop reason) const { return ledger().dropped[static_cast<std::size_t>(reason)]; }
  // The text of the first fact of this type; empty if there is none.
  std::string text(const std::string& type) const {
    for (const ObserverFact& fact : facts) {
      if (fact.type == type) return fact.text;
    }
    return {};
  }
  std::size_t count(const std::string& type) const {
    return static_cast<std::size_t>(std::count_if(
        facts.begin(), facts.end(), [&](const ObserverFact& fact) { return fact.type == type; }));
  }
};

inline std::string base_url(const Collector& collector) { return collector.url(""); }

}  // namespace runmain::telemetry::test
