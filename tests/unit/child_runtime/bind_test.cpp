// What is current in callables and in libuv's callbacks: what was current where they were bound.
#include <uv.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "child_runtime/coroutine.hpp"
#include "made_context.hpp"
#include "support/catch.hpp"

using made::Context;
using made::current;
using runmain::Activation;

TEST_CASE(
    "a bound callable runs in the context of its binding, on any thread, and a std::function takes it") {
  Context own('1');
  Context other('2');
  {
    std::function<std::string(int)> function;
    {
      const Activation scope(own.ref());
      function = runmain::bind([](int n) { return std::to_string(n) + current(); });
    }
    CHECK(function(1) == "11");
    CHECK(current() == '-');
    const auto copy = function;
    std::string seen;
    std::thread([&] {
      const Activation scope(other.ref());
      seen = copy(2) + current();
    }).join();
    CHECK(seen == "212");
  }
  CHECK(own.holders() == 1);
  CHECK(other.holders() == 1);
}

TEST_CASE("a bound callable moves what cannot be copied, and passes references on") {
  Context own('1');
  auto owner = std::make_unique<int>(4);
  auto bound = runmain::bind_context(own.ref(), [p = std::move(owner)](int& out) -> int& {
    out = *p;
    return out;
  });
  int out = 0;
  CHECK(&bound(out) == &out);
  CHECK(out == 4);
}

namespace {

struct Session : runmain::UvContext {
  std::string log;
};

void on_timer(uv_timer_t* timer) { runmain::uv_data<Session>(timer)->log += current(); }

void on_work(uv_work_t* work) { runmain::uv_data<Session>(work)->log += current(); }

void on_work_done(uv_work_t* work, int status) noexcept {
  runmain::uv_data<Session>(work)->log += status == 0 ? current() : '!';
}

void close_timer(uv_timer_t* timer) { uv_close(reinterpret_cast<uv_handle_t*>(timer), nullptr); }

// Frees what holds the context.
void on_closed(uv_handle_t* handle) {
  Session* session = runmain::uv_data<Session>(handle);
  const std::string log = session->log;
  delete session;
  handle->data = new std::string(log + current());
}

}  // namespace

TEST_CASE("libuv's callbacks run in the context where their data was made") {
  Context own('1');
  uv_loop_t loop;
  REQUIRE(uv_loop_init(&loop) == 0);
  uv_timer_t timer;
  uv_work_t work;
  uv_timer_init(&loop, &timer);
  {
    const Activation scope(own.ref());
    runmain::set_uv_data(timer, new Session);
    work.data = timer.data;
  }
  uv_timer_start(&timer, runmain::uv_callback<on_timer>, 0, 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_queue_work(&loop, &work, runmain::uv_callback<on_work>, runmain::uv_callback<on_work_done>);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(current() == '-');
  uv_close(reinterpret_cast<uv_handle_t*>(&timer), runmain::uv_callback<on_closed>);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop) == 0);
  const std::unique_ptr<std::string> log(static_cast<std::string*>(timer.data));
  CHECK(*log == "1111");
  CHECK(own.holders() == 1);
}

TEST_CASE("a libuv callback without data runs in what is current") {
  uv_loop_t loop;
  REQUIRE(uv_loop_init(&loop) == 0);
  uv_timer_t timer;
  uv_timer_init(&loop, &timer);
  timer.data = nullptr;
  uv_timer_start(&timer, runmain::uv_callback<close_timer>, 0, 0);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  CHECK(uv_loop_close(&loop) == 0);
}

TEST_CASE("an object that outlives one piece of work takes the context of the next") {
  Context one('1');
  Session session;
  {
    const Activation scope(one.ref());
    session.take_current();
  }
  CHECK(session.context().get() == one.get());
}
