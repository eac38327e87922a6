// A collector that knows what it should have got: OTLP/HTTP protobuf on loopback, which can be told to
// refuse, to answer 429 or never, and which counts spans, gaps and duplicates of t_spans' workers. For
// integration tests and benchmarks. Thread: its own, and the test's.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/otlp_text.hpp"

namespace runmain::test {

class SpanSink {
 public:
  enum class Mode : std::uint8_t { ok, too_many, silent, refused };

  // Listens on a free port; `port` 0: any. `keep`: spans are kept in whole, for other tests than counting.
  explicit SpanSink(bool keep = false);
  ~SpanSink();
  SpanSink(const SpanSink&) = delete;
  SpanSink& operator=(const SpanSink&) = delete;

  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }
  // `silent` takes requests and never answers; `refused` closes the listening socket, the port stays ours.
  void set_mode(Mode mode);

  struct Stream {
    std::uint64_t spans = 0;  // distinct
    std::uint64_t highest = 0;
    std::uint64_t again = 0;  // came twice
    std::vector<bool> came;   // by number
  };
  using Key = std::pair<std::string, std::int64_t>;  // service.instance.id, thread
  std::map<Key, Stream> streams() const;
  std::vector<otlp::Span> spans() const;
  std::uint64_t requests() const { return requests_; }
  std::uint64_t bad() const { return bad_; }

 private:
  struct Connection;
  void serve();
  void open_listener();
  bool read_some(Connection& c);
  void take(const std::string& body);
  void take_span(const std::string& instance, std::string_view bytes);
  bool answer(int fd) const;

  bool keep_;
  int listener_ = -1;
  int wake_[2] = {-1, -1};
  std::uint16_t port_ = 0;
  std::atomic<Mode> mode_{Mode::ok};
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<std::uint64_t> bad_{0};
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::map<Key, Stream> streams_;
  std::vector<otlp::Span> kept_;
  std::thread thread_;
};

}  // namespace runmain::test
