#include "supervised.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace runmain::test {
namespace {

using Clock = std::chrono::steady_clock;

int left_ms(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return left < 0 ? 0 : static_cast<int>(left);
}

bool wait_readable(int fd, int ms) {
  pollfd p{fd, POLLIN, 0};
  return poll(&p, 1, ms) > 0;
}

std::vector<char*> to_argv(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  return argv;
}

int exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

// As in /proc/PID/stat; '\0' for one that is not there.
char state_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const std::size_t end = text.rfind(')');
  return end == std::string::npos || end + 2 >= text.size() ? '\0' : text[end + 2];
}

pid_t spawn(const std::vector<std::string>& words, const std::string& cwd, int out) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGTERM);  // a test that is aborted leaves nothing
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, 0);
  dup2(out, 1);
  dup2(out, 2);
  if (chdir(cwd.c_str()) != 0) _exit(126);
  auto argv = to_argv(words);
  execv(argv[0], argv.data());
  _exit(127);
}

}  // namespace

Folder::Folder() {
  const char* base = std::getenv("TMPDIR");
  std::string name = std::string(base != nullptr ? base : "/tmp") + "/runmain-test-XXXXXX";
  path_ = mkdtemp(name.data());
}
Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}
void Folder::write(const std::string& name, const std::string& text) const {
  const std::filesystem::path target = file(name);
  std::filesystem::create_directories(target.parent_path());
  const std::string temporary = file("." + target.filename().string() + ".swp");
  std::ofstream(temporary, std::ios::binary) << text;
  std::filesystem::rename(temporary, target);
}
std::string Folder::read(const std::string& name) const {
  std::ifstream in(file(name), std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

Ran run(const std::vector<std::string>& argv, const std::string& cwd) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {-1, {}};
  const pid_t pid = spawn(argv, cwd, ends[1]);
  close(ends[1]);
  Ran ran;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    ran.out.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  ran.status = exit_code(status);
  return ran;
}

Control::Control(const std::string& socket_path) {
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close(fd_);
    fd_ = -1;
  }
}
Control::~Control() {
  if (fd_ >= 0) close(fd_);
}
void Control::send(const std::string& verb, Json args) {
  const std::string line =
      Json{{"v", 1}, {"id", ++last_id_}, {"verb", verb}, {"args", std::move(args)}}.dump() + "\n";
  (void)!::send(fd_, line.data(), line.size(), MSG_NOSIGNAL);
}
Json Control::request(const std::string& verb, Json args) {
  if (fd_ < 0) return nullptr;
  send(verb, std::move(args));
  return next();
}
Json Control::next(std::chrono::milliseconds guard) {
  const auto deadline = Clock::now() + guard;
  for (;;) {
    const std::size_t end = buffer_.find('\n');
    if (end != std::string::npos) {
      Json line = Json::parse(buffer_.substr(0, end), nullptr, false);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (fd_ < 0 || !wait_readable(fd_, left_ms(deadline))) return nullptr;
    char buffer[65536];
    const ssize_t n = read(fd_, buffer, sizeof buffer);
    if (n <= 0) return nullptr;
    buffer_.append(buffer, static_cast<std::size_t>(n));
  }
}

Supervised::Supervised(const std::string& toml, std::vector<std::string> arguments)
    : arguments_(std::move(arguments)) {
  folder_.write("supervisor.toml", expand(toml));
}

Supervised::Supervised(const Dev& dev) : dev_(true), command_(dev.command) {
  setenv("XDG_RUNTIME_DIR", beside_.path().c_str(), 1);
  setenv("XDG_STATE_HOME", beside_.file("state").c_str(), 1);
  for (const std::string& argument : dev.arguments) arguments_.push_back(expand(argument));
}

std::string Supervised::expand(std::string toml) const {
  const auto replace = [&](const std::string& what, const std::string& by) {
    for (std::size_t at = 0; (at = toml.find(what, at)) != std::string::npos; at += by.size())
      toml.replace(at, what.size(), by);
  };
  replace("@BIN@", RUNMAIN_BIN_DIR);
  replace("@DIR@", folder_.path());
  return toml;
}

void Supervised::set_config(const std::string& toml) { folder_.write("supervisor.toml", expand(toml)); }

void Supervised::start(const std::string& bin) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  std::vector<std::string> argv = {bin + "/runmain", command_};
  if (!dev_)
    argv.insert(argv.end(), {"-c", folder_.file("supervisor.toml"), "--runtime-dir", folder_.file("run"),
                             "--state-dir", folder_.file("state")});
  argv.insert(argv.end(), arguments_.begin(), arguments_.end());
  pid_ = spawn(argv, folder_.path(), ends[1]);
  close(ends[1]);
  if (out_fd_ >= 0) close(out_fd_);
  out_fd_ = ends[0];
  fcntl(out_fd_, F_SETFL, O_NONBLOCK);
  ended_ = false;
  events_.reset();
}

Supervised::~Supervised() {
  if (pid_ > 0 && !ended_) {
    kill(pid_, SIGTERM);
    if (wait_exit() == -1) {
      kill(pid_, SIGKILL);
      wait_exit();
    }
  }
  if (out_fd_ >= 0) close(out_fd_);
  if (!dev_) return;
  unsetenv("XDG_RUNTIME_DIR");
  unsetenv("XDG_STATE_HOME");
}

std::string Supervised::control_path() const {
  if (!dev_) return folder_.file("run/control");
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(beside_.file("runmain"), none))
    return entry.path().string() + "/control";
  return beside_.file("control");  // not there yet
}

void Supervised::read_output(std::chrono::milliseconds at_most) {
  if (out_fd_ < 0 || !wait_readable(out_fd_, static_cast<int>(at_most.count()))) return;
  char buffer[65536];
  const ssize_t n = read(out_fd_, buffer, sizeof buffer);
  if (n > 0) output_.append(buffer, static_cast<std::size_t>(n));
  if (n == 0) {
    close(out_fd_);
    out_fd_ = -1;
  }
}

bool Supervised::wait_output(const std::string& text, std::chrono::milliseconds guard) {
  const auto deadline = Clock::now() + guard;
  while (output_.find(text) == std::string::npos) {
    const int left = left_ms(deadline);
    if (left == 0 || out_fd_ < 0) return false;
    read_output(std::chrono::milliseconds(left));
  }
  return true;
}

bool Supervised::wait_output_more() {
  const std::size_t before = output_.size();
  const auto deadline = Clock::now() + kGuard;
  while (output_.size() == before && out_fd_ >= 0 && left_ms(deadline) > 0) {
    read_output(std::chrono::milliseconds(left_ms(deadline)));
  }
  return output_.size() != before;
}

Json Supervised::request(const std::string& verb, Json args) {
  const auto deadline = Clock::now() + kGuard;
  for (;;) {
    Control control(control_path());
    if (control.connected()) {
      Json answer = control.request(verb, args);
      if (!answer.is_null()) return answer;  // null: the head died meanwhile; its successor answers
    }
    if (left_ms(deadline) == 0 || ended_) return nullptr;
    read_output(std::chrono::milliseconds(5));
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      ended_ = true;
      exit_ = exit_code(status);
    }
  }
}

bool Supervised::wait_ready(std::string* why) {
  const Json answer = request("wait", {{"timeout_ms", 30000}});
  if (why != nullptr) *why = answer.dump();
  return answer.contains("ok");
}

Json Supervised::status() {
  Json answer = request("status");
  return answer.contains("ok") ? answer["ok"] : Json();
}

Json Supervised::service(const std::string& name) {
  const Json now = status();
  if (!now.is_object()) return nullptr;
  for (const Json& s : now["services"]) {
    if (s["name"] == name) return s;
  }
  return nullptr;
}

Ran Supervised::cli(std::vector<std::string> arguments) {
  std::vector<std::string> argv = {std::string(RUNMAIN_BIN_DIR) + "/runmain"};
  argv.push_back(arguments[0]);
  if (!dev_)
    argv.insert(argv.end(), {"-c", "supervisor.toml", "--runtime-dir", "run", "--state-dir", "state"});
  argv.insert(argv.end(), arguments.begin() + 1, arguments.end());
  return run(argv, folder_.path());
}

Json Supervised::wait_event(const std::function<bool(const Json&)>& matches) {
  const auto deadline = Clock::now() + kGuard;
  for (;;) {
    while (!events_ || !events_->connected()) {
      events_ = std::make_unique<Control>(control_path());
      if (events_->connected()) {
        events_->send("events", {{"follow", true}});
        break;
      }
      if (left_ms(deadline) == 0) return nullptr;
      read_output(std::chrono::milliseconds(5));
    }
    const Json line = events_->next(std::chrono::milliseconds(left_ms(deadline)));
    if (line.is_null()) {
      if (left_ms(deadline) == 0) return nullptr;
      events_.reset();
      continue;
    }
    if (line.contains("item") && matches(line["item"])) return line["item"];
  }
}

Json Supervised::wait_event(const std::string& type, const std::string& service_name) {
  return wait_event([&](const Json& e) {
    return e.value("type", "") == type && (service_name.empty() || e.value("service", "") == service_name);
  });
}

Json Supervised::wait_status(const std::function<bool(const Json&)>& holds) {
  Control events(control_path());
  events.send("events", {{"follow", true}});
  const auto deadline = Clock::now() + kGuard;
  for (;;) {
    Json now = status();
    if (now.is_object() && holds(now)) return now;
    if (left_ms(deadline) == 0) return nullptr;
    events.next(std::chrono::milliseconds(50));
  }
}

pid_t Supervised::head_pid() const {
  for (const pid_t child : children_of(pid_)) {
    char link[4096] = {};
    if (readlink(("/proc/" + std::to_string(child) + "/exe").c_str(), link, sizeof link - 1) > 0 &&
        std::string(link).find("runmain-supervisor") != std::string::npos) {
      return child;
    }
  }
  return -1;
}

std::string Supervised::address(const std::string& name, std::size_t index) {
  const Json s = service(name);
  return s.is_object() && s["listen"].size() > index ? s["listen"][index].get<std::string>() : std::string();
}

std::vector<pid_t> Supervised::pids(const std::string& name) {
  std::vector<pid_t> all;
  const Json s = service(name);
  if (!s.is_object()) return all;
  for (const Json& w : s["workers"]) {
    if (w["pid"].get<int>() > 0) all.push_back(w["pid"].get<int>());
  }
  return all;
}

void Supervised::signal(int number) const { kill(pid_, number); }

int Supervised::wait_exit() {
  const auto deadline = Clock::now() + kGuard;
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  while (!ended_) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      ended_ = true;
      exit_ = exit_code(status);
      break;
    }
    if (left_ms(deadline) == 0) {
      close(pidfd);
      return -1;
    }
    pollfd both[2] = {{pidfd, POLLIN, 0}, {out_fd_, POLLIN, 0}};  // its output must go on being read
    poll(both, out_fd_ >= 0 ? 2 : 1, left_ms(deadline));
    read_output(std::chrono::milliseconds(0));
  }
  if (pidfd >= 0) close(pidfd);
  while (out_fd_ >= 0 && wait_readable(out_fd_, 0)) read_output(std::chrono::milliseconds(0));
  return exit_;
}

bool wait_gone(pid_t pid, std::chrono::milliseconds guard) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return errno == ESRCH;
  pollfd p{fd, POLLIN, 0};
  const bool gone = poll(&p, 1, static_cast<int>(guard.count())) > 0;
  close(fd);
  return gone;
}

bool alive(pid_t pid) {
  const char state = state_of(pid);
  return state != '\0' && state != 'Z' && state != 'X';
}

bool freeze(pid_t pid) {
  kill(pid, SIGSTOP);
  while (alive(pid) && state_of(pid) != 'T') sched_yield();
  return alive(pid);
}

std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  std::vector<pid_t> all;
  for (pid_t child = 0; in >> child;) all.push_back(child);
  return all;
}

pid_t observer_of(pid_t keeper) {
  for (const pid_t child : children_of(keeper)) {
    std::ifstream file("/proc/" + std::to_string(child) + "/comm");
    std::string name;
    if (std::getline(file, name) && name.rfind("runmain-observe", 0) == 0) return child;
  }
  return 0;
}

std::vector<pid_t> grandchildren_in(const std::string& output) {
  const std::string word = "grandchild ";
  std::vector<pid_t> all;
  for (std::size_t at = 0; (at = output.find(word, at)) != std::string::npos; at += word.size()) {
    const std::size_t end = output.find('\n', at);
    if (end != std::string::npos) all.push_back(std::atoi(output.c_str() + at + word.size()));
  }
  return all;
}

bool serves(Supervised& up, int generation) {
  return up
      .wait_status([&](const Json& s) {
        const Json& a = s["services"][0];
        return a["state"] == "ready" && a["generation"] == generation && a["workers"].size() == 1;
      })
      .is_object();
}

int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  socklen_t length = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  close(fd);
  return ntohs(address.sin_port);
}

}  // namespace runmain::test
