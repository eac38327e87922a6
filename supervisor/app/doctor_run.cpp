#include "app/doctor_run.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <set>

#include "app/doctor_environment.hpp"
#include "app/doctor_records.hpp"
#include "app/doctor_requests.hpp"
#include "base/identity.hpp"
#include "doctor/fixes.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/listening.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kLook = milliseconds(50);
constexpr Duration kAnswerMax = seconds(10);
constexpr Duration kOtherPortsMax = seconds(1);
constexpr Duration kSettleMax = seconds(6);     // for spans that are on their way
constexpr Duration kQuiet = milliseconds(700);  // more than the delay of a batch that we set
constexpr Duration kCollectorMax = seconds(1);
constexpr Duration kStopMax = seconds(8);
constexpr Duration kStopMaxDead = seconds(25);  // SDKs wait for a dead collector for 10 s and more
constexpr Duration kStillServesAfter = seconds(3);
constexpr Duration kStillServesAgain = seconds(1);
constexpr Duration kFirstAnswerMax = seconds(3);  // of a port that may speak something else

doctor::Nanoseconds nanoseconds(Time time) { return time.time_since_epoch().count(); }

}  // namespace

DoctorRun::DoctorRun(DoctorPlan plan) : plan_(std::move(plan)), environment_(environment_of_process()) {
  gathered_.command = plan_.command;
}

DoctorRun::~DoctorRun() { kill_all(); }

Result<void> DoctorRun::run() {
  if (auto started = start(); !started) return started.error();
  if (auto answered = wait_for_answer(); !answered) {
    settle();
    return answered.error();
  }
  drive_requests(*processes_, port_, plan_.path, gathered_.requests, [this] {
    reap();
    return !interrupted();
  });
  settle();
  look_at_collectors();
  stop();
  kill_all();
  return {};
}

Result<void> DoctorRun::start() {
  auto spawner = os::Spawner::make();
  if (!spawner) return spawner.error();
  auto folder = os::TemporaryFolder::make("runmain-doctor");
  if (!folder) return folder.error();
  folder_ = std::move(*folder);
  secret_.resize(kSecretBytes);
  if (getrandom(secret_.data(), secret_.size(), 0) != static_cast<ssize_t>(secret_.size()))
    return Error::from_errno("getrandom", errno);
  tag_ = os::TagSource().next();
  auto guard = DoctorGuard::start(tag_, folder_.path());
  if (!guard) return guard.error();
  guard_ = std::move(*guard);
  processes_ = std::make_unique<DoctorProcesses>(std::vector<std::uint64_t>{tag_});
  auto listener = DoctorReceiver::listen(receiver_port_);
  if (!listener) return listener.error();

  const os::UniqueFd nothing(open("/dev/null", O_RDONLY | O_CLOEXEC));
  os::SpawnPlan child;
  child.argv = plan_.command;
  child.env = environment();
  child.stdio = {nothing.get(), STDERR_FILENO, STDERR_FILENO};
  child.tag = tag_;
  child.parent_death_signal = SIGKILL;
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const os::SpawnOutcome outcome = spawner->spawn(child);
  if (outcome.pid <= 0) return Error{outcome.detail, {}, "is it installed, and in PATH?", outcome.error};
  main_ = outcome.pid;
  // Threads only now: the spawner wants to be alone.
  receiver_ = std::make_unique<DoctorReceiver>(
      std::move(*listener), secret_,
      [tag = tag_](std::uint16_t port) { return DoctorProcesses::owner_of_port(tag, port); });
  return {};
}

std::vector<std::string> DoctorRun::environment() const {
  DoctorEnvironment own;
  own.share = plan_.share;
  own.folder = folder_.path();
  own.endpoint = "http://127.0.0.1:" + std::to_string(receiver_port_);
  own.header = "runmain-token=" + otlp_token(secret_, ChildKey{});
  return environment_for(environment_, own);
}

void DoctorRun::pause(Duration time) { (void)poll(nullptr, 0, static_cast<int>(to_ms(time))); }

void DoctorRun::reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    if (pid != main_) continue;
    main_ended_ = true;
    main_status_ = status;
  }
}

doctor::Request DoctorRun::ask_once(Duration limit) {
  return ask(port_, plan_.path, processes_->living(), 1, limit, [this] { return !interrupted(); }).front();
}

bool DoctorRun::began_span(const doctor::Request& request) {
  const doctor::Evidence e = evidence();
  return std::any_of(e.seen.begin(), e.seen.end(), [&](const doctor::SpanSeen& span) {
    return request.begin <= span.time && span.time <= request.end;
  });
}

// Of several ports the one that answers best: a page before an error, one with a span before one without. 502
// to 504 are "not yet".
bool DoctorRun::choose_port(bool takes_any) {
  std::set<std::uint16_t> ports;
  for (const os::Listening& one : os::listening_sockets(processes_->living())) ports.insert(one.port);
  gathered_.ports.assign(ports.begin(), ports.end());
  doctor::Request best;
  bool best_is_traced = false;
  std::uint16_t port = 0;
  for (const std::uint16_t one : ports) {
    if (plan_.port != 0 && one != plan_.port) continue;
    port_ = one;
    const doctor::Request request = ask_once(kFirstAnswerMax);
    if (request.status == 0) continue;
    // A page of metrics answers well, too.
    const bool is_traced = ports.size() > 1 && began_span(request);
    const bool is_better = best.status == 0 || (request.status < 400 && best.status >= 400) ||
                           (request.status < 400 && is_traced && !best_is_traced);
    if (!is_better) continue;
    best = request;
    best_is_traced = is_traced;
    port = one;
  }
  const bool not_yet = best.status >= 502 && best.status <= 504;
  if (best.status == 0 || (not_yet && !takes_any)) return false;
  port_ = gathered_.port = port;
  note(best);
  return true;
}

Result<void> DoctorRun::wait_for_answer() {
  const Time begin = os::Loop::now();
  while (os::Loop::now() - begin < plan_.patience && !interrupted()) {
    reap();
    processes_->look();
    if (choose_port(os::Loop::now() - begin > plan_.patience / 2)) {
      look_for_other_ports();
      return {};
    }
    if (main_ended_ && processes_->living().empty()) return ended_early();
    pause(kLook);
  }
  if (interrupted()) return Error{"interrupted", {}, {}, EINTR};
  const std::string limit = " within " + std::to_string(to_ms(plan_.patience) / 1000) + " s";
  std::string ports;
  for (const std::uint16_t port : gathered_.ports)
    ports += (ports.empty() ? "" : ", ") + std::to_string(port);
  if (ports.empty())
    return Error{plan_.command.front() + " listens on no TCP port" + limit,
                 {},
                 "does it take longer? --timeout 2m; unix sockets are not asked",
                 ETIMEDOUT};
  if (plan_.port != 0)
    return Error{"nothing answers on port " + std::to_string(plan_.port) + limit,
                 {},
                 "it listens on " + ports,
                 ETIMEDOUT};
  return Error{"no answer of HTTP/1.1 on port " + ports + limit,
               {},
               "which one? --request http://127.0.0.1:PORT/path; TLS is not spoken",
               ETIMEDOUT};
}

// What answered without a span may be a page of metrics, whose server came first.
void DoctorRun::look_for_other_ports() {
  if (plan_.port != 0 || began_span(gathered_.requests.back())) return;
  const auto before = gathered_.ports;
  pause(kOtherPortsMax);
  reap();
  processes_->look();
  std::set<std::uint16_t> ports;
  for (const os::Listening& one : os::listening_sockets(processes_->living())) ports.insert(one.port);
  if (std::vector<std::uint16_t>(ports.begin(), ports.end()) == before) return;
  const std::uint16_t chosen = port_;
  if (!choose_port(true)) port_ = chosen;
}

Error DoctorRun::ended_early() const {
  const std::string how = WIFSIGNALED(main_status_)
                              ? "was ended by signal " + std::to_string(WTERMSIG(main_status_))
                              : "ended with status " + std::to_string(WEXITSTATUS(main_status_));
  return Error{plan_.command.front() + " " + how + " before it answered a request",
               {},
               "its own words are above; start it once without runmain",
               ECHILD};
}

void DoctorRun::note(const doctor::Request& request) {
  gathered_.requests.push_back(request);
  if (request.pid != 0) processes_->count_request(request.pid);
}

bool DoctorRun::is_waiting_for_spans() {
  const doctor::Evidence e = evidence();
  std::set<std::string> came;
  for (const doctor::WireSpan& span : e.spans) came.insert(span.trace + span.span);
  return std::any_of(e.seen.begin(), e.seen.end(), [&](const doctor::SpanSeen& span) {
    return !span.end || came.count(span.trace + span.span) == 0;
  });
}

// Spans that are open may end, and ended ones come. Some never do.
void DoctorRun::settle() {
  const Time begin = os::Loop::now();
  Time quiet_since = begin;
  Time look_again = begin;
  std::size_t before = 0;
  while (os::Loop::now() - begin < kSettleMax && !interrupted()) {
    pause(kLook);
    reap();
    const std::size_t now = receiver_->spans().size();
    if (now != before) quiet_since = os::Loop::now();
    before = now;
    if (os::Loop::now() - quiet_since <= kQuiet || os::Loop::now() < look_again) continue;
    if (!is_waiting_for_spans()) return;
    look_again = os::Loop::now() + kQuiet / 2;  // all records are read for it
  }
}

void DoctorRun::look_at_collectors() {
  const doctor::Evidence e = evidence();
  std::map<std::string, bool> asked_for;
  const std::string own = user_endpoint(environment_);
  for (const doctor::ProcessorAdded& p : e.processors) {
    if (!p.endpoint.empty()) asked_for[p.endpoint] = !own.empty() || !is_default_endpoint(p.endpoint);
  }
  if (asked_for.empty() && !own.empty()) asked_for[own] = true;
  for (const auto& [endpoint, wanted] : asked_for)
    gathered_.collectors.push_back({endpoint, reach_of(endpoint, kCollectorMax), wanted});
}

void DoctorRun::stop() {
  if (interrupted() || main_ended_) return;
  doctor::Stop& stop = gathered_.stop;
  for (const doctor::Collector& collector : gathered_.collectors) {
    if (!collector.asked_for || collector.reach == doctor::Reach::answers) continue;
    receiver_->die(collector.reach);
    stop.collectors_imitated = true;
  }
  if (stop.collectors_imitated) pause(kLook);  // the receiver's thread looks that often
  doctor::Request last = ask_once(kAnswerMax);
  last.last = true;
  note(last);
  stop.signal = doctor::stop_signal_of(evidence());
  stop.tried = true;
  const Time begin = os::Loop::now();
  stop.begin = nanoseconds(begin);
  if (stop.signal == "SIGINT") {
    ::kill(-main_, SIGINT);  // Ctrl-C reaches the whole group
  } else {
    ::kill(main_, SIGTERM);
  }
  watch_the_end(begin);
}

void DoctorRun::watch_the_end(Time begin) {
  doctor::Stop& stop = gathered_.stop;
  Time limit = begin + (stop.collectors_imitated ? kStopMaxDead : kStopMax);
  Time look_again = begin + kStillServesAfter;
  while (os::Loop::now() < limit && !interrupted()) {
    reap();
    processes_->look();
    if (main_ended_ && processes_->living().empty()) {
      stop.ended = nanoseconds(os::Loop::now());
      stop.still_served.reset();  // it took its time
      return;
    }
    if (os::Loop::now() >= look_again) {
      look_again = os::Loop::now() + kStillServesAgain;
      look_whether_it_serves(limit);
    }
    pause(milliseconds(20));
  }
}

// npm, a shell and their like end without a word to their child: the one that serves gets the signal from us.
void DoctorRun::look_whether_it_serves(Time& limit) {
  doctor::Stop& stop = gathered_.stop;
  const doctor::Request request = ask_once(seconds(1));
  stop.still_served.reset();
  if (request.status == 0) return;
  stop.still_served = request.end;
  stop.still_served_by = request.pid;
  const bool is_child = request.pid != 0 && request.pid != main_;
  if (!is_child || stop.asked_directly != 0 || stop.signal != "SIGTERM" || stop.collectors_imitated) return;
  stop.asked_directly = request.pid;
  ::kill(request.pid, SIGTERM);
  limit = os::Loop::now() + kStopMax;
}

void DoctorRun::kill_all() {
  if (tag_ == 0 || main_ == 0) return;
  kill_tree(
      tag_, [](void* self) { static_cast<DoctorRun*>(self)->reap(); }, this);
  reap();
  main_ended_ = true;
}

// A program that asks for nothing asks for what we have put into its environment: that stands for the user's
// own.
void DoctorRun::name_endpoints(doctor::Evidence& evidence) const {
  const std::string ours = "127.0.0.1:" + std::to_string(receiver_port_);
  for (doctor::ProcessorAdded& p : evidence.processors) {
    if (p.endpoint.rfind(ours, 0) != 0 && p.endpoint.rfind("http://" + ours, 0) != 0) continue;
    const std::string own = user_endpoint(environment_);
    p.endpoint = !own.empty() ? own : p.protocol == "grpc" ? kDefaultGrpcEndpoint : kDefaultEndpoint;
  }
}

doctor::Evidence DoctorRun::evidence() {
  doctor::Evidence e = gathered_;
  if (processes_) e.processes = processes_->seen();
  if (receiver_) {
    e.spans = receiver_->spans();
    e.records_lost += receiver_->lost();
  }
  if (!folder_.path().empty()) read_records_in(folder_.path(), e);
  name_endpoints(e);
  e.ebpf = DoctorProcesses::ebpf();
  return e;
}

}  // namespace runmain::app
