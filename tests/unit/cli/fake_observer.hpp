// A head without a keeper and an observer without spans, for commands that name both by --runtime-dir.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../control/fake_backend.hpp"
#include "run_cli.hpp"

namespace runmain::cli {

class Observed {
 public:
  // What the observer says to a question before it hangs up; nothing: it hangs on.
  using Answers = std::function<std::string(const control::Json&)>;

  explicit Observed(Answers answers) : answers_(std::move(answers)) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    stop_read_.reset(ends[0]);
    stop_write_.reset(ends[1]);
    head_ = std::thread([this] {
      const auto stop =
          world_.loop.poll(stop_read_.get(), os::kReadable, [this](int) { world_.loop.stop(); });
      world_.loop.run();
    });
    if (answers_) {
      listen();
      observer_ = std::thread([this] { observe(); });
    }
  }
  ~Observed() {
    stop_write_.reset();
    head_.join();
    if (observer_.joinable()) observer_.join();
  }
  Observed(const Observed&) = delete;
  Observed& operator=(const Observed&) = delete;

  // The same words, meant for this runmain.
  std::vector<std::string> placed(std::vector<std::string> args) const {
    args.insert(args.end(),
                {"--runtime-dir", world_.folder.path(), "-c", world_.folder.path() + "/supervisor.toml"});
    return args;
  }
  Ran run(const std::vector<std::string>& args) const { return run_cli(placed(args)); }
  std::vector<control::Json> questions() {
    const std::lock_guard lock(mutex_);
    return questions_;
  }

 private:
  void listen() {
    const std::string path = world_.folder.path() + "/observer";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), 8) != 0)
      std::abort();
  }

  // False: it is to end.
  bool wait_for(int fd) const {
    pollfd fds[2] = {{fd, POLLIN, 0}, {stop_read_.get(), POLLIN, 0}};
    return poll(fds, 2, -1) > 0 && fds[1].revents == 0;
  }

  void observe() {
    std::vector<os::UniqueFd> held;
    while (wait_for(listener_.get())) {
      os::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      std::string line;
      char c = '\0';
      while (fd && wait_for(fd.get()) && recv(fd.get(), &c, 1, 0) == 1 && c != '\n') line += c;
      const control::Json question = control::from_line(line);
      {
        const std::lock_guard lock(mutex_);
        questions_.push_back(question);
      }
      const std::string answer = answers_(question);
      for (std::size_t sent = 0; sent < answer.size();) {
        const ssize_t n = send(fd.get(), answer.data() + sent, answer.size() - sent, MSG_NOSIGNAL);
        if (n <= 0) break;
        sent += static_cast<std::size_t>(n);
      }
      if (answer.empty()) held.push_back(std::move(fd));
    }
  }

  control::World world_;
  Answers answers_;
  os::UniqueFd stop_read_;
  os::UniqueFd stop_write_;
  os::UniqueFd listener_;
  std::mutex mutex_;
  std::vector<control::Json> questions_;
  std::thread head_;
  std::thread observer_;
};

}  // namespace runmain::cli
