// The C++20 face of current.h: contexts with owners, and callables that keep theirs.
//
// Invariant: nothing here knows more than current.h; what is said there holds here. Header only. Nothing
// throws. Non-goals: spans (trace.hpp), coroutines and libuv (coroutine.hpp). Threads: a Context is copied
// and dropped anywhere; an Activation ends on the thread that it began on.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

#include "current.h"

namespace runmain {

// Holds a context. Copies share it.
class Context {
 public:
  Context() noexcept = default;  // the empty one
  Context(const Context& o) noexcept : context_(runmain_context_retain(o.context_)) {}
  Context(Context&& o) noexcept : context_(std::exchange(o.context_, nullptr)) {}
  Context& operator=(Context o) noexcept {
    std::swap(context_, o.context_);
    return *this;
  }
  ~Context() { runmain_context_release(context_); }

  static Context current() noexcept { return retain(runmain_current()); }
  static Context retain(const runmain_context* context) noexcept {
    return Context(runmain_context_retain(context));
  }
  static Context adopt(const runmain_context* context) noexcept { return Context(context); }
  // Of a span that came from elsewhere.
  static Context of(const runmain_span_context& span) noexcept {
    return Context(runmain_context_make(&span, nullptr, nullptr));
  }

  runmain_span_context span_context() const noexcept { return runmain_context_span_context(context_); }
  const runmain_context* get() const noexcept { return context_; }

 private:
  explicit Context(const runmain_context* context) noexcept : context_(context) {}

  const runmain_context* context_ = nullptr;
};

// Makes a context the current one, for a scope.
class Activation {
 public:
  explicit Activation(Context context) noexcept
      : context_(std::move(context)), before_(runmain_context_retain(runmain_current())) {
    runmain_swap_current(context_.get());
  }
  ~Activation() {
    // Only what this has made so: whoever put another one there puts it back.
    if (runmain_current() == context_.get()) runmain_swap_current(before_);
    runmain_context_release(before_);
  }
  Activation(const Activation&) = delete;
  Activation& operator=(const Activation&) = delete;

 private:
  Context context_;
  const runmain_context* before_;
};

// `function` as a callable that runs in `context`, later and elsewhere. It can be copied if `function` can,
// so a std::function takes it.
template <class F>
auto bind_context(Context context, F&& function) {
  return [context = std::move(context),
          f = std::forward<F>(function)](auto&&... arguments) mutable -> decltype(auto) {
    const Activation activation(context);
    return std::invoke(f, std::forward<decltype(arguments)>(arguments)...);
  };
}

// … in what is current now.
template <class F>
auto bind(F&& function) {
  return bind_context(Context::current(), std::forward<F>(function));
}

}  // namespace runmain
