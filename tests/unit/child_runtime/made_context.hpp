// Contexts for tests of who is current where: each has a name, and tells how many hold it.
#pragma once

#include <cstdint>
#include <string>

#include "child_runtime/coroutine.hpp"

namespace made {

// Begins as runmain_context does, with its holders; the test is one of them.
class Context {
 public:
  explicit Context(char name) : name_(name) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const runmain_context* get() const { return reinterpret_cast<const runmain_context*>(this); }
  runmain::ContextRef ref() const { return runmain::ContextRef(get()); }
  std::uint32_t holders() const { return holders_; }
  char name() const { return name_; }

 private:
  std::uint32_t holders_ = 1;
  char name_;
};

// The name of what is current, '-' if nothing is.
inline char current() {
  const runmain_context* context = runmain_current();
  return context == nullptr ? '-' : reinterpret_cast<const Context*>(context)->name();
}

}  // namespace made
