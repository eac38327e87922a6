// Awaiters and coroutine types of every shape: what is current stays with the coroutine.
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

#include "coroutine_task.hpp"
#include "support/catch.hpp"

using made::Context;
using made::current;
using made::Event;
using made::Note;
using made::Task;
using runmain::Activation;
using runmain::CoroutineContext;

namespace {

struct Refusing {  // does not suspend after all
  bool await_ready() { return false; }
  bool await_suspend(std::coroutine_handle<>) {
    seen = current();
    return false;
  }
  int await_resume() { return 3; }
  char seen = '?';
};

struct Throwing {
  bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<>) { throw std::runtime_error("no"); }
  void await_resume() {}
};

// Another thread has resumed the coroutine before await_suspend returns.
struct Overtaken {
  bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    std::thread([handle] { handle.resume(); }).join();
  }
  void await_resume() {}
};

struct Free {
  int value;
};
struct Ready {
  int value;
  bool await_ready() { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  int& await_resume() { return value; }
};
Ready operator co_await(Free free) { return {free.value}; }

}  // namespace

TEST_CASE("awaiters of every shape keep the context") {
  Context own('1');
  Context base('b');
  std::string log;
  Refusing refusing;
  const auto body = [&]() -> Task {
    const Activation scope(own.ref());
    log += std::to_string(co_await refusing) + current();
    try {
      co_await Throwing{};
    } catch (const std::runtime_error&) {
      log += current();
    }
    Ready ready{4};
    int& same = co_await ready;
    log += (&same == &ready.value ? "=" : "!") + std::to_string(co_await Free{5}) + current();
    co_await Overtaken{};
    log += current();
  };
  {
    Task task = body();
    const Activation scope(base.ref());
    task.start();
    CHECK(current() == 'b');
    CHECK(task.done());
    CHECK_FALSE(task.failed());
  }
  CHECK(refusing.seen == 'b');
  CHECK(log ==
        "31"
        "1"
        "=51"
        "1");
  CHECK(own.holders() == 1);
}

TEST_CASE("an exception goes through tasks in their own contexts") {
  Context outer_context('o');
  Event event;
  std::string log;
  const auto inner = [&]() -> Task {
    co_await event;
    throw std::runtime_error("no");
  };
  const auto outer = [&]() -> Task {
    const Activation scope(outer_context.ref());
    try {
      co_await inner();
    } catch (const std::runtime_error&) {
      log += current();
    }
  };
  Task task = outer();
  task.start();
  event.fire();
  CHECK(task.done());
  CHECK(log == "o");
  CHECK(current() == '-');
}

namespace {

// Runs at once and frees itself; its exceptions reach who runs it.
struct Detached {
  struct Promise;
  using promise_type = runmain::WithContext<Promise>;
  struct Promise {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { throw; }
  };
};

// Values on demand.
struct Values {
  struct Promise;
  using promise_type = runmain::WithContext<Promise>;
  using Handle = std::coroutine_handle<promise_type>;
  struct Promise {
    Values get_return_object() { return {Handle::from_promise(static_cast<promise_type&>(*this))}; }
    std::suspend_always initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    std::suspend_always yield_value(char c) {
      value = c;
      return {};
    }
    Ready await_transform(int number) { return {number}; }
    void return_void() {}
    void unhandled_exception() { throw; }
    char value = '?';
  };
  char next() {
    handle.resume();
    return handle.promise().value;
  }
  Handle handle;
};

}  // namespace

TEST_CASE("a coroutine that runs at once gives its context back at its first suspension, and at its end") {
  Context base('b');
  Context other('o');
  Context own('1');
  Event event;
  std::string log;
  const auto body = [&](bool fails) -> Detached {
    const Activation scope(own.ref());
    co_await event;
    log += current();
    if (fails) throw std::runtime_error("no");
  };
  {
    const Activation scope(base.ref());
    body(false);
    CHECK(current() == 'b');
    event.fire();
    CHECK(current() == 'b');
    body(true);
  }
  const Activation scope(other.ref());
  const std::coroutine_handle<> failed = event.waiting;
  CHECK_THROWS_AS(event.fire(), std::runtime_error);
  CHECK(current() == 'o');
  failed.destroy();  // one whose unhandled_exception has thrown is not destroyed by itself
  CHECK(current() == 'o');
  CHECK(log == "11");
}

TEST_CASE("co_yield and an await_transform of the promise keep the context") {
  Context own('1');
  Context base('b');
  const auto body = [&]() -> Values {
    const Activation scope(own.ref());
    co_yield current();
    const int number = co_await 5;
    co_yield static_cast<char>('0' + number);
    co_yield current();
  };
  Values values = body();
  {
    const Activation scope(base.ref());
    CHECK(values.next() == '1');
    CHECK(current() == 'b');
    CHECK(values.next() == '5');
    CHECK(values.next() == '1');
    CHECK(current() == 'b');
    values.handle.destroy();
    CHECK(current() == 'b');
  }
  CHECK(own.holders() == 1);
}

namespace {

// A coroutine type that knows nothing of contexts.
struct Foreign {
  struct promise_type {
    Foreign get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

}  // namespace

TEST_CASE("in a coroutine of a foreign type CoroutineContext does the same") {
  Context base('b');
  Context own('1');
  Event event;
  std::string log;
  const auto body = [&]() -> Foreign {
    CoroutineContext here;
    const Note outside{log};
    const Activation scope(own.ref());
    const Note inside{log};
    log += std::to_string(co_await here(event)) + current();
    co_await here(event);
    log += current();
  };
  const Activation scope(base.ref());
  for (const bool finishes : {true, false}) {
    log.clear();
    Foreign coroutine = body();
    coroutine.handle.resume();
    CHECK(current() == 'b');
    event.fire();
    CHECK(current() == 'b');
    if (finishes) event.fire();
    coroutine.handle.destroy();
    CHECK(log == (finishes ? "7111b" : "711b"));
    CHECK(current() == 'b');
    CHECK(own.holders() == 1);
  }
}
