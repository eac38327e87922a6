#include "control/client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>

namespace runmain::control {
namespace {

constexpr std::size_t kReadOnce = 64U << 10U;
constexpr int kBacklogPauseMs = 5;

Time now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Time(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

// Milliseconds for poll(2), rounded up; -1: no limit.
int poll_timeout(Time deadline) {
  if (deadline == kNever) return -1;
  const Duration left = deadline - now();
  if (left.count() <= 0) return 0;
  return static_cast<int>(std::min<long long>(to_ms(left) + 1, INT_MAX));
}

Result<void> wait_for(int fd, short events, Time deadline) {
  for (;;) {
    pollfd p{fd, events, 0};
    const int n = poll(&p, 1, poll_timeout(deadline));
    if (n > 0) return {};
    if (n == 0 && now() >= deadline) return Error{"no answer in time", {}, {}, ETIMEDOUT};
    if (n < 0 && errno != EINTR) return Error::from_errno("poll", errno);
  }
}

Error hung_up() { return Error{"runmain ended the connection", {}, {}, ECONNRESET}; }

Client::Answer answer_of(const Json& json) {
  Client::Answer answer;
  if (json.contains("ok")) {
    answer.ok = true;
    answer.value = json["ok"];
    return answer;
  }
  const Json error = json.value("error", Json::object());
  answer.code = text_of(error, "code", kFailed);
  answer.error.message = text_of(error, "message", "failed");
  answer.error.at = text_of(error, "at");
  answer.error.hint = text_of(error, "hint");
  if (const auto output = error.find("output"); output != error.end() && output->is_array())
    answer.output = *output;
  return answer;
}

}  // namespace

Time deadline_after(Duration limit) { return now() + limit; }

Result<Client> Client::connect(const std::string& path, Time deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error::from_errno(path, ENAMETOOLONG);
  std::memcpy(address.sun_path, path.c_str(), path.size());
  os::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno("socket", errno);
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return Error::from_errno("connect " + path, errno);
    // The backlog is full, and a unix socket offers nothing to wait for.
    if (now() >= deadline) return Error{"no answer in time", {}, {}, ETIMEDOUT};
    poll(nullptr, 0, kBacklogPauseMs);
  }
  return Client(std::move(fd));
}

Result<void> Client::send_line(const std::string& line, Time deadline) {
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t n = send(fd_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      const auto writable = wait_for(fd_.get(), POLLOUT, deadline);
      if (!writable) return writable;
    } else if (errno != EINTR) {
      return hung_up();
    }
  }
  return {};
}

Result<std::string> Client::read_line(Time deadline) {
  for (;;) {
    const std::size_t end = in_.find('\n', scanned_);
    if (end != std::string::npos) {
      std::string line = in_.substr(taken_, end - taken_);
      taken_ = scanned_ = end + 1;
      return line;
    }
    in_.erase(0, taken_);
    taken_ = 0;
    scanned_ = in_.size();
    if (in_.size() > kAnswerMax) return Error{"the answer is too long", {}, {}, EMSGSIZE};
    const auto readable = wait_for(fd_.get(), POLLIN, deadline);
    if (!readable) return readable.error();
    char buffer[kReadOnce];
    const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) {
      in_.append(buffer, static_cast<std::size_t>(n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      return hung_up();
    }
  }
}

Result<Client::Answer> Client::call(const std::string& verb, const Json& args, Time deadline,
                                    const std::function<bool(const Json&)>& on_item) {
  const std::uint64_t id = ++last_id_;
  const Json request{{"v", kProtocolVersion}, {"id", id}, {"verb", verb}, {"args", args}};
  // A server that ends the connection may have said why before: that is read even if sending failed.
  const auto sent = send_line(to_line(request) + "\n", deadline);
  if (!sent && sent.error().code != ECONNRESET) return sent.error();
  for (;;) {
    const auto line = read_line(deadline);
    if (!line.ok()) return line.error();
    const Json json = from_line(*line);
    if (!json.is_object()) return Error{"the answer is not JSON", {}, {}, EPROTO};
    const bool ours = number_of(json, "id", -1) == static_cast<std::int64_t>(id);
    if (!ours && !json.contains("error")) continue;
    const auto item = json.find("item");
    if (item == json.end()) return answer_of(json);
    if (on_item && !on_item(*item)) return Answer{true, nullptr, {}, {}, {}};
  }
}

}  // namespace runmain::control
