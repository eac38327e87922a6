// Contexts for tests of who is current where: each has a name, and tells how many hold it.
#pragma once

#include <cstdint>
#include <string>

#include "child_runtime/coroutine.hpp"

namespace made {

// The test is one of its holders. The name is the first byte of the span's id.
class Context {
 public:
  explicit Context(char name) {
    runmain_span_context span{};
    span.trace_id[0] = 1;
    span.span_id[0] = static_cast<std::uint8_t>(name);
    context_ = runmain_context_make(&span, nullptr, nullptr);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { runmain_context_release(context_); }

  const runmain_context* get() const { return context_; }
  runmain::Context ref() const { return runmain::Context::retain(context_); }
  // A context begins with how many hold it.
  std::uint32_t holders() const { return *reinterpret_cast<const std::uint32_t*>(context_); }

 private:
  runmain_context* context_;
};

// The name of what is current, '-' if nothing is.
inline char current() {
  const runmain_context* context = runmain_current();
  return context == nullptr ? '-' : static_cast<char>(runmain_context_span_context(context).span_id[0]);
}

}  // namespace made
