#include "current.h"

#include <cstdint>

namespace {

constinit thread_local const runmain_context* t_current = nullptr;

}  // namespace

// A context begins with the number of those that hold it; who makes one frees it.
struct runmain_context {
  std::uint32_t holders;
};

extern "C" {

const runmain_context* runmain_current(void) { return t_current; }

const runmain_context* runmain_swap_current(const runmain_context* context) {
  const runmain_context* before = t_current;
  t_current = context;
  return before;
}

const runmain_context* runmain_context_retain(const runmain_context* context) {
  if (context != nullptr) {
    __atomic_add_fetch(const_cast<std::uint32_t*>(&context->holders), 1, __ATOMIC_RELAXED);
  }
  return context;
}

void runmain_context_release(const runmain_context* context) {
  if (context != nullptr) {
    __atomic_sub_fetch(const_cast<std::uint32_t*>(&context->holders), 1, __ATOMIC_ACQ_REL);
  }
}

}  // extern "C"
