// Pools of workers in production: replaced, killed, stopped, scaled, under load. Which of the hard cases
// loses a request, and who is there afterwards.
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "support/pools.hpp"

using namespace runmain::test;

namespace {

// So many connections that have sent a request and are not answered yet.
std::vector<int> ask_many(const std::string& address, int count) {
  std::vector<int> fds;
  for (int n = 0; n < count; ++n) {
    const int fd = connect_to(address);
    if (fd < 0) break;
    const std::string_view text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    if (send(fd, text.data(), text.size(), MSG_NOSIGNAL) < 0) break;
    fds.push_back(fd);
  }
  return fds;
}

int answered(const std::vector<int>& fds) {
  int good = 0;
  for (const int fd : fds) {
    char buffer[512];
    const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    good += n > 12 && std::string_view(buffer, 12) == "HTTP/1.1 200" ? 1 : 0;
    close(fd);
  }
  return good;
}

// 200 connections wait, as nobody runs; one of three workers is killed, the others go on.
int answered_after_a_death(const std::string& balance) {
  Supervised up(pool(3, kNotify + "hang = { stopped = \"0s\" }\n" + balance));
  up.start();
  REQUIRE(up.wait_ready());
  const auto pids = up.pids("web");
  for (const pid_t pid : pids) kill(pid, SIGSTOP);
  const auto fds = ask_many(up.address("web"), 200);
  kill(pids[0], SIGKILL);
  for (std::size_t n = 1; n < pids.size(); ++n) kill(pids[n], SIGCONT);
  return answered(fds);
}

}  // namespace

TEST_CASE("a pool is replaced 20 times under load, one worker after the other, and loses no request") {
  Supervised up(pool(3, kNotify + kNoHold));
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 4);
  for (int n = 1; n <= 20; ++n) REQUIRE(up.cli({"reload", "web"}).status == 0);
  REQUIRE(up.wait_status([](const Json& s) { return all_ready(s, 3, 21); }).is_object());
  no_request_lost(load);
  CHECK(up.stop() == 0);
}

TEST_CASE("one worker that takes long to start: nobody waits for its successor") {
  Supervised up(pool(1, kNotify, "@BIN@/t_http --fd {fd} --boot-ms 2000"));
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 2);
  load.wait_more(10);
  REQUIRE(up.cli({"reload", "web"}).status == 0);
  no_request_lost(load);
  CHECK(load.longest_ms() < 1000);  // a stall would be 2000
}

TEST_CASE(
    "200 connections wait in a shared queue; one of the workers is killed; the others answer all of them") {
  CHECK(answered_after_a_death("") == 200);
}

TEST_CASE("the same with a socket for each slot: the successor answers what its slot had in its queue") {
  CHECK(answered_after_a_death("balance = \"reuseport\"\n") == 200);
}

TEST_CASE("sockets of their own: scaled down, killed and replaced under load, no request is lost") {
  Supervised up(pool(4, kNotify + "balance = \"reuseport\"\n"));
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 4);
  load.wait_more(20);
  CHECK(up.cli({"scale", "web=2"}).status == 0);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["workers"].size() == 2; }).is_object());
  load.wait_more(20);
  CHECK(up.cli({"scale", "web=4"}).status == 0);
  CHECK(up.cli({"reload", "web"}).status == 0);
  load.wait_more(20);
  no_request_lost(load);
  CHECK(up.stop() == 0);
}

TEST_CASE("a stopped worker is found and replaced; the other one is left alone") {
  Supervised up(pool(2, kNotify));
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  kill(before[0], SIGSTOP);
  const Json hung = up.wait_event("child.hung", "web");
  REQUIRE(hung.is_object());
  CHECK(hung["pid"] == before[0]);
  REQUIRE(up.wait_status([](const Json& s) { return all_ready(s, 2, 1); }).is_object());
  const auto after = up.pids("web");
  CHECK(std::count(after.begin(), after.end(), before[0]) == 0);
  CHECK(std::count(after.begin(), after.end(), before[1]) == 1);
  CHECK(up.wait_output("a signal has stopped it"));
}

TEST_CASE("before a worker that hangs is killed, the hook looks at it") {
  Supervised up(pool(1, kNotify + "hang = { on_hang = \"echo looked at {pid} of slot {worker}\" }\n"));
  up.start();
  REQUIRE(up.wait_ready());
  const pid_t worker = up.pids("web")[0];
  kill(worker, SIGSTOP);
  REQUIRE(up.wait_output("looked at " + std::to_string(worker) + " of slot 0"));
  REQUIRE(wait_gone(worker));
  REQUIRE(up.wait_ready());
}

TEST_CASE("a new version with an error: the old one serves on, the report has its last words") {
  Supervised up(pool(
      2, kNotify,
      "if test -e broken; then echo 'SyntaxError: line 7' >&2; exit 1; fi; exec @BIN@/t_http --fd {fd}"));
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  up.folder().write("broken", "");
  HttpLoad load(up.address("web"), 2);
  const Ran reload = up.cli({"reload", "web", "--wait"});
  CHECK(reload.status == 1);
  INFO(reload.out);
  CHECK(reload.out.find("SyntaxError: line 7") != std::string::npos);
  CHECK(reload.out.find("exited with status 1") != std::string::npos);
  load.wait_more(10);
  no_request_lost(load);
  CHECK(up.pids("web") == before);
}

TEST_CASE("a roll that fails half-way gives every slot back to the old generation") {
  Supervised up(
      pool(3, kNotify,
           "if test $RUNMAIN_WORKER = 1 -a $RUNMAIN_GENERATION = 2; then exit 3; fi; exec @BIN@/t_http "
           "--fd {fd}"));
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 3);
  CHECK(up.cli({"reload", "web"}).status == 1);
  REQUIRE(up.wait_event("reload.restored", "web").is_object());
  REQUIRE(up.wait_status([](const Json& s) { return all_ready(s, 3, 1); }).is_object());
  no_request_lost(load);
  CHECK(up.cli({"reload", "web"}).status == 0);  // generation 3 has no such fault
  REQUIRE(up.wait_status([](const Json& s) { return all_ready(s, 3, 3); }).is_object());
}

TEST_CASE("a canary that is not well fails the reload, by default in time, and the old ones serve on") {
  Supervised up(
      pool(3, kNotify + "roll = { canary = 1, canary_hold = \"2s\" }\n"
                        "health = { command = \"grep -qz RUNMAIN_GENERATION=1 /proc/{pid}/environ\" }\n"));
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 2);
  const Ran reload = up.cli({"reload", "web", "--wait"});
  INFO(reload.out);
  CHECK(reload.status == 1);
  CHECK(reload.out.find("generation 2: ") != std::string::npos);
  REQUIRE(up.wait_status([](const Json& s) { return all_ready(s, 3, 1); }).is_object());
  no_request_lost(load);
  const Ran all = up.cli({"reload", "web", "--canary", "3"});
  CHECK(all.status != 0);
  CHECK(all.out.find("at most 2 of them can be canaries") != std::string::npos);
}

TEST_CASE("a new version that dies at once after it was ready is not told as reloaded") {
  Supervised up(pool(1, kNotify + "roll = { hold_last = \"20s\" }\n",
                     "if test $RUNMAIN_GENERATION = 2; then (sleep 0.3; kill -9 $$) & fi; exec "
                     "@BIN@/t_http --fd {fd}"));
  up.start();
  REQUIRE(up.wait_ready());
  const Ran reload = up.cli({"reload", "web"});
  INFO(reload.out);
  CHECK(reload.status == 1);
  REQUIRE(up.wait_status([](const Json& s) { return all_ready(s, 1, 1); }).is_object());
}

TEST_CASE("a new version that hangs while it starts is ended in its time, the old one is untouched") {
  Supervised up(
      pool(2, "ready = { notify = true, timeout = \"700ms\" }\n",
           "if test -e slow; then exec @BIN@/t_http --fd {fd} --boot-ms 60000; fi; exec @BIN@/t_http --fd "
           "{fd}"));
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  up.folder().write("slow", "");
  const Ran reload = up.cli({"reload", "web"});
  CHECK(reload.status == 1);
  CHECK(reload.out.find("not ready within 700 ms") != std::string::npos);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["workers"].size() == 2; }).is_object());
  CHECK(up.pids("web") == before);
}

TEST_CASE("50 requests for a reload during a roll are at most one more roll") {
  Supervised up(pool(3, kNotify, "@BIN@/t_http --fd {fd} --boot-ms 100"));
  up.start();
  REQUIRE(up.wait_ready());
  Control many(up.control_path());
  REQUIRE(many.connected());
  for (int n = 0; n < 50; ++n) many.send("reload", {{"services", {"web"}}, {"wait", false}});
  REQUIRE(up.wait_event("reload.done", "web").is_object());
  CHECK(up.cli({"reload", "web"}).status == 0);
  const Json s = up.service("web");
  CHECK(s["generation"].get<int>() <= 4);
  REQUIRE(
      up.wait_status([](const Json& now) { return now["services"][0]["workers"].size() == 3; }).is_object());
  const auto seen = ready_generations(up.status());
  CHECK(std::set<int>(seen.begin(), seen.end()).size() == 1);
}

TEST_CASE("a worker that is killed while another one drains is replaced at once") {
  Supervised up(pool(2, kNotify + kNoHold + "stop = { timeout = \"8s\" }\n",
                     "exec @BIN@/t_http --fd {fd} --ignore-term"));
  up.start();
  REQUIRE(up.wait_ready());
  REQUIRE(up.cli({"scale", "web=3"}).status == 0);
  const auto before = up.pids("web");
  REQUIRE(up.cli({"reload", "web"}).status == 0);
  const auto serving = up.pids("web");
  const auto fresh = std::find_if(serving.begin(), serving.end(), [&](pid_t pid) {
    return std::count(before.begin(), before.end(), pid) == 0;
  });
  REQUIRE(fresh != serving.end());
  const auto drains = [](const Json& s) {
    const Json& workers = s["services"][0]["workers"];
    return std::any_of(workers.begin(), workers.end(),
                       [](const Json& w) { return w["state"] == "draining"; });
  };
  REQUIRE(drains(up.status()));
  kill(*fresh, SIGKILL);
  REQUIRE(up.wait_status([&](const Json& s) {
              const Json& workers = s["services"][0]["workers"];
              const bool gone = std::none_of(workers.begin(), workers.end(),
                                             [&](const Json& w) { return w["pid"] == *fresh; });
              return gone && drains(s) && ready_generations(s) == std::vector<int>{2, 2, 2};
            }).is_object());
}

TEST_CASE("clients that never go: a reload ends all the same, and few old generations are there") {
  Supervised up(pool(2, kNotify + kNoHold + "stop = { timeout = \"300ms\", lingering = 1 }\n"));
  up.start();
  REQUIRE(up.wait_ready());
  std::vector<int> silent;
  std::size_t most = 0;
  for (int n = 0; n < 20; ++n) {
    silent.push_back(connect_to(up.address("web")));
    REQUIRE(up.cli({"reload", "web"}).status == 0);
    std::set<int> generations;
    const Json now = up.service("web");
    for (const Json& w : now["workers"]) generations.insert(w["generation"].get<int>());
    most = std::max(most, generations.size());
  }
  for (const int fd : silent) close(fd);
  CHECK(most <= 4);
}

TEST_CASE("scale by command and by signal, and what status --check says") {
  Supervised up(pool(2, kNotify));
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.cli({"status", "--check"}).status == 0);
  CHECK(up.cli({"status", "--check"}).out.empty());
  CHECK(up.cli({"scale", "web=4"}).status == 0);
  CHECK(up.pids("web").size() == 4);
  up.signal(SIGTTIN);
  REQUIRE(up.wait_status([](const Json& s) { return all_ready(s, 5, 1); }).is_object());
  up.signal(SIGTTOU);
  up.signal(SIGTTOU);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["workers"].size() <= 4; }).is_object());
  CHECK(up.cli({"scale", "web=0"}).status == 2);
  CHECK(up.cli({"scale", "wob=2"}).status != 0);
  CHECK(up.stop() == 0);
  CHECK(up.cli({"status", "--check"}).status == 3);
}

TEST_CASE("workers that are replaced after so many requests: no request is lost") {
  Supervised up(
      "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"@BIN@/pool\", \"--fd\", \"{fd}\"]\n"
      "listen = \"127.0.0.1:0\"\nworkers = 2\non_keeper_death = \"stop\"\n"
      "recycle = { requests = 100, jitter = 0.5 }\n");
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 3);
  for (int n = 0; n < 3; ++n) REQUIRE(up.wait_event("child.recycled", "web").is_object());
  load.wait_more(50);
  no_request_lost(load);
}

TEST_CASE("every slot has failed for good: runmain ends with 1 and says why") {
  Supervised up(pool(2, "restart = { burst = 3, initial = \"10ms\" }\n", "echo no; exit 7"));
  up.start();
  CHECK(up.wait_exit() == 1);
  CHECK(up.output().find("exited with status 7") != std::string::npos);
}

TEST_CASE("a worker that dies ten times before it is ready, as serve allows: status 1, and its last words") {
  Supervised up(pool(1, "restart = { burst = 10, initial = \"1ms\", max = \"10ms\" }\n",
                     "echo start >> starts; echo 'the module is broken'; exit 7"));
  up.start();
  CHECK(up.wait_exit() == 1);
  INFO(up.output());
  CHECK(up.output().find("web: failed: exited with status 7, 10 times in a row") != std::string::npos);
  CHECK(up.output().find("  | the module is broken\n") != std::string::npos);
  const std::string starts = up.folder().read("starts");
  CHECK(std::count(starts.begin(), starts.end(), '\n') == 10);
}

TEST_CASE("statuses that are a success, and statuses after which a slot stays empty") {
  Supervised up(pool(2, "restart = { no_restart = [78] }\n",
                     "if test $RUNMAIN_WORKER = 1; then exit 78; fi; exec "
                     "@BIN@/t_http --fd {fd}"));
  up.start();
  REQUIRE(up.wait_event("slot.failed", "web").is_object());
  CHECK(up.cli({"status", "--check"}).status == 1);
  REQUIRE(up.wait_status([](const Json& s) { return !ready_generations(s).empty(); }).is_object());
  CHECK(get(up.address("web"), "/").ok);
  CHECK(up.stop() == 0);
}

TEST_CASE("a look by command that fails so often has the worker replaced") {
  Supervised up(
      pool(1, kNotify + "health = { command = \"test ! -e ill\", interval = \"50ms\", failures = 2 }\n"));
  up.start();
  REQUIRE(up.wait_ready());
  const pid_t before = up.pids("web")[0];
  up.folder().write("ill", "");
  REQUIRE(up.wait_event("child.replaced", "web").is_object());
  unlink(up.folder().file("ill").c_str());
  REQUIRE(wait_gone(before));
  REQUIRE(up.wait_ready());
}

TEST_CASE(
    "workers that end by themselves with status 0 after they have served: no back-off, no request lost") {
  Supervised up(
      pool(2, kNotify + "restart = { burst = 3, initial = \"10s\" }\n", "exec @BIN@/t_http --fd {fd}"));
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 3);
  for (int n = 0; n < 4; ++n) {
    const auto old_enough = [](const Json& s) {
      int count = 0;
      for (const Json& w : s["services"][0]["workers"])
        count += w["state"] == "ready" && w["since_ms"].get<int>() >= 1000 ? 1 : 0;
      return count == 2;
    };
    while (!old_enough(up.status())) load.wait_more(5);
    const auto before = up.pids("web");
    for (const pid_t pid : before) kill(pid, SIGTERM);  // t_http answers what it has and exits with 0
    for (const pid_t pid : before) REQUIRE(wait_gone(pid));
    REQUIRE(up.wait_status([](const Json& s) { return all_ready(s, 2, 1); }).is_object());
  }
  no_request_lost(load);
  CHECK(load.longest_ms() < 5000);  // a back-off would be 10 s
  CHECK(up.service("web")["restarts"] == 0);
  CHECK(up.stop() == 0);
}

TEST_CASE("a pool in which some workers have ended their work for good is not well") {
  Supervised up(pool(2, "restart = \"on-failure\"\n",
                     "if test $RUNMAIN_WORKER = 1; then exit 0; fi; exec @BIN@/t_http --fd {fd}"));
  up.start();
  REQUIRE(up.wait_ready());
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["done_workers"] == 1; }).is_object());
  const Ran check = up.cli({"status", "--check"});
  CHECK(check.status == 1);
  CHECK(check.out.find("1 of 2 workers serve, 1 is done") != std::string::npos);
  CHECK(up.stop() == 0);
}

TEST_CASE("scaling stays within the bounds of the file, and says so") {
  Supervised up(
      "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"@BIN@/t_http\", \"--fd\", \"{fd}\"]\n"
      "listen = \"127.0.0.1:0\"\nworkers = { min = 1, max = 2 }\n");
  up.start();
  REQUIRE(up.wait_ready());
  const Ran refused = up.cli({"scale", "web=9"});
  CHECK(refused.status == 1);
  CHECK(refused.out.find("web has 1 to 2 workers") != std::string::npos);
  CHECK(up.cli({"scale", "web=3000000000"}).out.find("web has 1 to 2 workers") != std::string::npos);
  up.signal(SIGTTOU);
  CHECK(up.wait_output("web: stays at 1 worker"));
  up.signal(SIGUSR1);
  CHECK(up.wait_output("SIGUSR1: passed on to 1 worker"));
  CHECK(up.stop() == 0);
}

TEST_CASE("a port of its own for each worker: beyond one that somebody else has nobody scales") {
  Supervised up(
      "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"@BIN@/t_http\", \"--port\", \"{port}\"]\n"
      "port = \"auto\"\nready = { notify = true }\n");
  up.start();
  REQUIRE(up.wait_ready());
  std::ifstream words("/proc/" + std::to_string(up.pids("web")[0]) + "/cmdline", std::ios::binary);
  std::string port;
  for (std::string word; std::getline(words, word, '\0');) port = word;
  const auto second = static_cast<std::uint16_t>(std::stoi(port) + 1);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(second);
  const int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(bind(taken, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(listen(taken, 1) == 0);
  const Ran refused = up.cli({"scale", "web=3"});
  CHECK(refused.status == 1);
  CHECK(refused.out.find("port " + std::to_string(second) + " of worker 1 is in use by pid " +
                         std::to_string(getpid())) != std::string::npos);
  close(taken);
  CHECK(up.cli({"scale", "web=2"}).status == 0);
  CHECK(up.stop() == 0);
}

TEST_CASE("a worker is ready when the command that looks at it says so") {
  Supervised up(
      pool(2, "ready = { exec = \"test -e warm{worker}\" }\n", "exec @BIN@/t_http --fd {fd} --no-notify"));
  up.start();
  const auto ready = [](std::size_t count) {
    return [count](const Json& s) { return ready_generations(s).size() == count; };
  };
  REQUIRE(up.wait_event("child.started", "web").is_object());
  up.folder().write("warm1", "");
  REQUIRE(up.wait_status(ready(1)).is_object());
  CHECK(up.status()["services"][0]["state"] == "starting");
  up.folder().write("warm0", "");
  REQUIRE(up.wait_ready());
  CHECK(up.status()["services"][0]["workers"][0]["proof"] == "probe");
  CHECK(up.cli({"reload", "web"}).status == 0);
  CHECK(up.stop() == 0);
}
