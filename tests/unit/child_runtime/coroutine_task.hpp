// A coroutine type as libraries have it, and what it waits for: for tests of coroutine.hpp.
#pragma once

#include <coroutine>
#include <exception>
#include <string>
#include <utility>

#include "made_context.hpp"

namespace made {

// A lazy task that goes on with who awaits it, as coroutine libraries have it.
class Task {
 public:
  struct Promise;
  using promise_type = runmain::WithContext<Promise>;
  using Handle = std::coroutine_handle<promise_type>;

  struct Final {
    bool await_ready() noexcept { return false; }
    std::coroutine_handle<> await_suspend(Handle handle) noexcept;
    void await_resume() noexcept {}
  };

  struct Promise {
    Task get_return_object() { return Task(Handle::from_promise(static_cast<promise_type&>(*this))); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    Final final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { failure = std::current_exception(); }

    std::coroutine_handle<> continuation = std::noop_coroutine();
    std::exception_ptr failure;
  };

  Task(Task&& o) noexcept : handle_(std::exchange(o.handle_, {})) {}
  ~Task() {
    if (handle_) handle_.destroy();
  }

  // For the test, which resumes by itself.
  void start() { handle_.resume(); }
  bool done() const { return handle_.done(); }
  bool failed() const { return handle_.promise().failure != nullptr; }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> continuation) noexcept {
    handle_.promise().continuation = continuation;
    return handle_;
  }
  void await_resume() {
    if (failed()) std::rethrow_exception(handle_.promise().failure);
  }

 private:
  explicit Task(Handle handle) : handle_(handle) {}
  Handle handle_;
};

inline std::coroutine_handle<> Task::Final::await_suspend(Handle handle) noexcept {
  return handle.promise().continuation;
}

// Suspends whoever awaits it until the test fires.
struct Event {
  struct Awaiter {
    Event& event;
    bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) noexcept { event.waiting = handle; }
    int await_resume() noexcept { return 7; }
  };
  Awaiter operator co_await() noexcept { return {*this}; }
  void fire() { std::exchange(waiting, {}).resume(); }

  std::coroutine_handle<> waiting;
};

// A local of a coroutine that writes down what is current when it is destroyed.
struct Note {
  std::string& log;
  ~Note() { log += current(); }
};

}  // namespace made
