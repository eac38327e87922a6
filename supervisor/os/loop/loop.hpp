// The event loop of head and observer: a thin owner of libuv's, so that no other file includes uv.h.
//
// Invariant: what is made by a Loop dies before it; a callback is never called after its object is gone, and
// may destroy its own object. Thread: one. Exceptions must not leave a callback. Non-goal: streams; rooms
// read and write fds themselves.
#pragma once

#include <functional>
#include <memory>

#include "base/time.hpp"

namespace runmain::os {

inline constexpr int kReadable = 1;
inline constexpr int kWritable = 2;

// Watches one fd (level-triggered). The fd stays the caller's and must outlive this. An fd that epoll refuses
// (a regular file) is reported ready once at each turn of the loop.
class Poll {
 public:
  virtual ~Poll() = default;
  // kReadable | kWritable; 0 rests.
  virtual void want(int events) = 0;
};

// Fires once at the time that is set; a new time replaces the old one.
class Timer {
 public:
  virtual ~Timer() = default;
  virtual void set(Time when) = 0;
  virtual void cancel() = 0;
};

class Loop {
 public:
  Loop();
  ~Loop();  // everything made by it is gone by then; closes clean
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // CLOCK_MONOTONIC, read now.
  static Time now();

  // `callback` gets kReadable and kWritable bits; an error or a hang-up is told as readable.
  std::unique_ptr<Poll> poll(int fd, int events, std::function<void(int)> callback);
  std::unique_ptr<Timer> timer(std::function<void()> callback);

  // Called at each turn, after all callbacks and before the loop may sleep: the place to flush what the turn
  // gathered. One.
  void before_sleep(std::function<void()> callback);

  // Runs until stop(). turn() handles what is ready and returns without sleeping longer than `at_most`.
  void run();
  void stop();
  void turn(Duration at_most);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runmain::os
