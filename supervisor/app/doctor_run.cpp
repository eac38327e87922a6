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
constexpr Duration kSettleMax = seconds(6);     // for spans that are on their way
constexpr Duration kQuiet = milliseconds(700);  // more than the delay of a batch that we set
constexpr Duration kCollectorMax = seconds(1);
constexpr Duration kStopMax = seconds(8);
constexpr Duration kStopMaxDead = seconds(25);  // SDKs wait for a dead collector for 10 s and more
constexpr Duration kStillServesAfter = seconds(3);

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
  auto folder = DoctorFolder::make(false);
  if (!folder) return folder.error();
  folder_ = std::move(*folder);
  secret_.resize(kSecretBytes);
  if (getrandom(secret_.data(), secret_.size(), 0) != static_cast<ssize_t>(secret_.size()))
    return Error::from_errno("getrandom", errno);
  tag_ = os::TagSource().next();
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
  processes_->set_main(main_);
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
  return ask(port_, plan_.path, processes_->living(), 1, limit).front();
}

Result<void> DoctorRun::wait_for_answer() {
  const Time deadline = os::Loop::now() + plan_.patience;
  bool listened = false;
  while (os::Loop::now() < deadline && !interrupted()) {
    reap();
    processes_->look();
    std::set<std::uint16_t> ports;
    for (const os::Listening& one : os::listening_sockets(processes_->living())) ports.insert(one.port);
    if (plan_.port != 0)
      ports = ports.count(plan_.port) != 0 ? std::set<std::uint16_t>{plan_.port} : std::set<std::uint16_t>{};
    for (const std::uint16_t port : ports) {
      listened = true;
      port_ = port;
      const doctor::Request request = ask_once(kAnswerMax);
      if (request.status == 0) continue;
      note(request);
      return {};
    }
    if (main_ended_ && processes_->living().empty()) {
      const std::string how =
          WIFSIGNALED(main_status_)
              ? std::string("was ended by signal ") + std::to_string(WTERMSIG(main_status_))
              : "ended with status " + std::to_string(WEXITSTATUS(main_status_));
      return Error{plan_.command.front() + " " + how + " before it answered a request",
                   {},
                   "its own words are above; start it once without runmain",
                   ECHILD};
    }
    pause(kLook);
  }
  if (interrupted()) return Error{"interrupted", {}, {}, EINTR};
  const std::string limit = std::to_string(to_ms(plan_.patience) / 1000) + " s";
  if (listened)
    return Error{"no answer of HTTP within " + limit,
                 {},
                 "which URL? --request http://127.0.0.1:PORT/path",
                 ETIMEDOUT};
  return Error{plan_.command.front() + " did not listen within " + limit,
               {},
               "does it take longer? --timeout 2m",
               ETIMEDOUT};
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
  std::size_t before = 0;
  while (os::Loop::now() - begin < kSettleMax && !interrupted()) {
    pause(kLook);
    reap();
    const std::size_t now = receiver_->spans().size();
    if (now != before) quiet_since = os::Loop::now();
    before = now;
    if (os::Loop::now() - quiet_since > kQuiet && !is_waiting_for_spans()) return;
  }
}

void DoctorRun::look_at_collectors() {
  const doctor::Evidence e = evidence();
  std::map<std::string, bool> asked_for;
  for (const doctor::ProcessorAdded& p : e.processors) {
    if (!p.endpoint.empty())
      asked_for[p.endpoint] = p.endpoint != kDefaultEndpoint && !is_default_endpoint(p.endpoint);
  }
  const std::string own = user_endpoint(environment_);
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
  const Duration limit = stop.collectors_imitated ? kStopMaxDead : kStopMax;
  while (os::Loop::now() - begin < limit && !interrupted()) {
    reap();
    processes_->look();
    if (main_ended_ && !stop.main_ended) stop.main_ended = nanoseconds(os::Loop::now());
    if (main_ended_ && processes_->living().empty()) {
      stop.ended = nanoseconds(os::Loop::now());
      return;
    }
    if (os::Loop::now() - begin > kStillServesAfter && !stop.still_served) {
      const doctor::Request request = ask_once(seconds(1));
      if (request.status != 0) {
        stop.still_served = request.end;
        stop.still_served_by = request.pid;
      }
      if (stop.still_served && !stop.collectors_imitated) return;
    }
    pause(milliseconds(20));
  }
}

void DoctorRun::kill_all() {
  if (tag_ == 0 || main_ == 0) return;
  os::TreeKiller killer;
  killer.add(tag_, os::Loop::now() + seconds(5));
  while (!killer.idle()) {
    reap();
    (void)killer.step(os::Loop::now());
    pause(milliseconds(1));
  }
  reap();
  main_ended_ = true;
}

// A program that asks for nothing asks for what we have put into its environment: that stands for the user's
// own.
void DoctorRun::name_endpoints(doctor::Evidence& evidence) const {
  const std::string ours = "http://127.0.0.1:" + std::to_string(receiver_port_);
  for (doctor::ProcessorAdded& p : evidence.processors) {
    if (p.endpoint.rfind(ours, 0) != 0) continue;
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
  folder_.read(e);
  name_endpoints(e);
  e.ebpf = DoctorProcesses::ebpf();
  return e;
}

}  // namespace runmain::app
