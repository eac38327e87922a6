#include "os/loop/loop.hpp"

#include <uv.h>

#include <ctime>

namespace runmain::os {
namespace {

// A libuv handle is freed by its close callback, one turn after its owner: the owner only lets go of it.
struct PollHandle {
  uv_poll_t uv{};
  std::function<void(int)> callback;
  bool always_ready = false;  // epoll refused the fd: an idle handle stands in
  uv_idle_t idle{};
  int open_handles = 0;
};

void release(PollHandle* h) {
  auto closed = [](uv_handle_t* raw) {
    auto* handle = static_cast<PollHandle*>(raw->data);
    if (--handle->open_handles == 0) delete handle;
  };
  h->callback = nullptr;
  auto* raw =
      h->always_ready ? reinterpret_cast<uv_handle_t*>(&h->idle) : reinterpret_cast<uv_handle_t*>(&h->uv);
  uv_close(raw, closed);
}

// The callback may destroy the Poll, and with it the std::function that is running: a copy keeps it alive.
void fire(PollHandle* h, int events) {
  if (!h->callback) return;
  const auto callback = h->callback;
  callback(events);
}

class UvPoll final : public Poll {
 public:
  UvPoll(uv_loop_t* loop, int fd, std::function<void(int)> callback) : handle_(new PollHandle) {
    handle_->callback = std::move(callback);
    handle_->open_handles = 1;
    if (uv_poll_init(loop, &handle_->uv, fd) != 0) {
      handle_->always_ready = true;
      uv_idle_init(loop, &handle_->idle);
      handle_->idle.data = handle_;
    } else {
      handle_->uv.data = handle_;
    }
  }
  ~UvPoll() override { release(handle_); }

  void want(int events) override {
    if (handle_->always_ready) {
      want_idle(events);
      return;
    }
    const int mask =
        ((events & kReadable) != 0 ? UV_READABLE : 0) | ((events & kWritable) != 0 ? UV_WRITABLE : 0);
    if (mask == 0) {
      uv_poll_stop(&handle_->uv);
      return;
    }
    uv_poll_start(&handle_->uv, mask, [](uv_poll_t* p, int status, int got) {
      int bits = ((got & UV_READABLE) != 0 ? kReadable : 0) | ((got & UV_WRITABLE) != 0 ? kWritable : 0);
      if (status < 0) bits |= kReadable;
      fire(static_cast<PollHandle*>(p->data), bits);
    });
  }

 private:
  void want_idle(int events) {
    if (events == 0) {
      uv_idle_stop(&handle_->idle);
      return;
    }
    uv_idle_start(&handle_->idle,
                  [](uv_idle_t* i) { fire(static_cast<PollHandle*>(i->data), kReadable | kWritable); });
  }

  PollHandle* handle_;
};

struct TimerHandle {
  uv_timer_t uv{};
  std::function<void()> callback;
};

class UvTimer final : public Timer {
 public:
  UvTimer(uv_loop_t* loop, std::function<void()> callback) : handle_(new TimerHandle) {
    handle_->callback = std::move(callback);
    uv_timer_init(loop, &handle_->uv);
    handle_->uv.data = handle_;
  }
  ~UvTimer() override {
    handle_->callback = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&handle_->uv),
             [](uv_handle_t* raw) { delete static_cast<TimerHandle*>(raw->data); });
  }
  // libuv counts whole milliseconds: rounded up, so that a timer never comes before its time.
  void set(Time when) override {
    if (when == kNever) {
      cancel();
      return;
    }
    const Duration left = when - Loop::now();
    const auto ms = left.count() <= 0 ? 0 : (left.count() + 999'999) / 1'000'000;
    uv_update_time(handle_->uv.loop);
    uv_timer_start(
        &handle_->uv,
        [](uv_timer_t* t) {
          auto* h = static_cast<TimerHandle*>(t->data);
          if (!h->callback) return;
          const auto callback = h->callback;
          callback();
        },
        static_cast<std::uint64_t>(ms), 0);
  }
  void cancel() override { uv_timer_stop(&handle_->uv); }

 private:
  TimerHandle* handle_;
};

}  // namespace

struct Loop::Impl {
  uv_loop_t loop{};
  uv_prepare_t prepare{};
  uv_timer_t limit{};
  std::function<void()> before_sleep;
};

Loop::Loop() : impl_(std::make_unique<Impl>()) {
  uv_loop_init(&impl_->loop);
  uv_prepare_init(&impl_->loop, &impl_->prepare);
  impl_->prepare.data = impl_.get();
  uv_timer_init(&impl_->loop, &impl_->limit);
}

Loop::~Loop() {
  uv_close(reinterpret_cast<uv_handle_t*>(&impl_->prepare), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&impl_->limit), nullptr);
  uv_run(&impl_->loop, UV_RUN_NOWAIT);  // the close callbacks
  uv_loop_close(&impl_->loop);
}

Time Loop::now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Time(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

std::unique_ptr<Poll> Loop::poll(int fd, int events, std::function<void(int)> callback) {
  auto made = std::make_unique<UvPoll>(&impl_->loop, fd, std::move(callback));
  made->want(events);
  return made;
}

std::unique_ptr<Timer> Loop::timer(std::function<void()> callback) {
  return std::make_unique<UvTimer>(&impl_->loop, std::move(callback));
}

void Loop::before_sleep(std::function<void()> callback) {
  impl_->before_sleep = std::move(callback);
  uv_prepare_start(&impl_->prepare, [](uv_prepare_t* p) {
    auto* impl = static_cast<Impl*>(p->data);
    if (impl->before_sleep) impl->before_sleep();
  });
}

void Loop::run() { uv_run(&impl_->loop, UV_RUN_DEFAULT); }

void Loop::stop() { uv_stop(&impl_->loop); }

void Loop::turn(Duration at_most) {
  // A timer of 0 ms would fire before the poll, which then sleeps for ever.
  if (to_ms(at_most) <= 0) {
    uv_run(&impl_->loop, UV_RUN_NOWAIT);
    return;
  }
  // It repeats: should the machine be so busy that it is due before the poll begins, the poll has the next
  // one.
  const auto limit = static_cast<std::uint64_t>(to_ms(at_most));
  uv_update_time(&impl_->loop);
  uv_timer_start(
      &impl_->limit, [](uv_timer_t*) {}, limit, limit);
  uv_run(&impl_->loop, UV_RUN_ONCE);
  uv_timer_stop(&impl_->limit);
}

}  // namespace runmain::os
