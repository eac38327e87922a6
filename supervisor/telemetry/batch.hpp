// Gathers items of one worker and one signal into the bytes of Export…ServiceRequests
// (opentelemetry-proto 1.x), grouped by resource and scope.
//
// Invariant: a request has at least one item, no empty envelope (opentelemetry.md, 47), and is within the
// limits; an item is copied twice, into its group and into the request. Pure. Non-goal: when to send.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "telemetry/item.hpp"

namespace runmain::telemetry {

inline constexpr std::size_t kRequestBytesMax = 64U << 20U;  // uncompressed: no more may be sent (44)

struct BatchLimits {
  std::size_t bytes = 4U << 20U;  // of a request, at most kRequestBytesMax
  std::size_t items = 512;
};

struct Request {
  Signal signal = Signal::traces;
  std::string bytes;
  std::uint32_t items = 0;
};

class Batch {
 public:
  explicit Batch(Signal signal, BatchLimits limits = {});
  ~Batch();
  Batch(Batch&&) noexcept;
  Batch& operator=(Batch&&) noexcept;

  enum class Added : std::uint8_t {
    added,
    full,     // take() first
    too_big,  // fits no request
  };
  // The item's bytes are copied. Requires that the item is of this signal.
  Added add(const Item& item);

  bool empty() const { return items_ == 0; }
  // Whether one more is not expected to fit.
  bool full() const { return items_ >= limits_.items || size_ >= limits_.bytes; }
  std::uint32_t items() const { return items_; }
  // What was added, as a request; the batch is empty afterwards. Requires !empty().
  Request take();

 private:
  struct Scope;
  struct Resource;
  void find(const Origin& origin);
  void make(const Origin& origin);
  void note();

  Signal signal_;
  BatchLimits limits_;
  std::vector<std::unique_ptr<Resource>> resources_;
  Origin last_origin_;                 // views of ours
  Resource* last_resource_ = nullptr;  // of last_scope_, or where a new scope belongs
  Scope* last_scope_ = nullptr;
  std::size_t size_ = 0;  // an upper bound of the request's bytes
  std::uint32_t items_ = 0;
};

}  // namespace runmain::telemetry
