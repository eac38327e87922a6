// What the doctor does to a program before it looks: its environment, and who accepts a request.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <thread>

#include "app/doctor_environment.hpp"
#include "app/doctor_guard.hpp"
#include "app/doctor_receiver.hpp"
#include "app/doctor_records.hpp"
#include "app/doctor_requests.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/sockets.hpp"
#include "os/linux/temporary_folder.hpp"

using namespace runmain;
using namespace runmain::app;

namespace {

bool has(const std::vector<std::string>& all, const std::string& entry) {
  return std::find(all.begin(), all.end(), entry) != all.end();
}

os::Listener listener_on_loopback() {
  os::Address address;
  address.host = "127.0.0.1";
  auto listener = os::open_listener(address);
  REQUIRE(listener);
  return std::move(*listener);
}

}  // namespace

TEST_CASE("a program gets our receiver for its own, and keeps what chooses exporters", "[doctor]") {
  DoctorEnvironment own;
  own.share = "/nowhere";
  own.folder = "/tmp/x";
  own.endpoint = "http://127.0.0.1:9";
  own.header = "runmain-token=t";
  const auto all = environment_for({{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/v1/traces"},
                                    {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
                                    {"OTEL_BSP_SCHEDULE_DELAY", "9000"},
                                    {"RUNMAIN_TOKEN", "1:web"},
                                    {"PYTHONPATH", "/mine"}},
                                   own);
  CHECK(has(all, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9"));
  CHECK(has(all, "OTEL_EXPORTER_OTLP_HEADERS=runmain-token=t"));
  CHECK(has(all, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"));
  CHECK(has(all, "OTEL_BSP_SCHEDULE_DELAY=9000"));
  CHECK(has(all, "PYTHONPATH=/mine"));  // there is no probe
  CHECK(has(all, "RUNMAIN_DOCTOR=/tmp/x"));
  CHECK(std::none_of(all.begin(), all.end(), [](const std::string& entry) {
    return entry.rfind("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=", 0) == 0 ||
           entry.rfind("RUNMAIN_TOKEN=", 0) == 0;
  }));
}

TEST_CASE("where the user's environment sends traces", "[doctor]") {
  struct Row {
    Variables user;
    const char* expected;
  };
  const Row rows[] = {
      {{}, ""},
      {{{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"}}, "http://c:4318/v1/traces"},
      {{{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/"}}, "http://c:4318/v1/traces"},
      {{{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"}, {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"}},
       "http://c:4317"},
      {{{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://d/x"}},
       "http://d/x"},
  };
  for (const Row& row : rows) CHECK(user_endpoint(row.user) == row.expected);
}

TEST_CASE("URLs are taken apart", "[doctor]") {
  UrlParts parts;
  REQUIRE(parse_url("http://127.0.0.1:5000/users", parts));
  CHECK(
      (parts.scheme == "http" && parts.host == "127.0.0.1" && parts.port == 5000 && parts.path == "/users"));
  REQUIRE(parse_url("https://[::1]:4318", parts));
  CHECK((parts.scheme == "https" && parts.host == "::1" && parts.port == 4318 && parts.path == "/"));
  REQUIRE(parse_url("collector:4317", parts));
  CHECK((parts.host == "collector" && parts.port == 4317));
  for (const char* bad : {"", "http://", "http://:80", "http://a:0", "http://a:99999", "http://a:x/"})
    CHECK_FALSE(parse_url(bad, parts));
}

TEST_CASE("a collector that answers, one that is silent and none are told apart", "[doctor]") {
  const auto limit = std::chrono::milliseconds(300);
  os::Listener silent = listener_on_loopback();
  const std::string silent_at = "http://127.0.0.1:" + std::to_string(os::port_of(silent)) + "/v1/traces";
  CHECK(reach_of(silent_at, limit) == doctor::Reach::silent);

  std::uint16_t port = 0;
  auto own = DoctorReceiver::listen(port);
  REQUIRE(own);
  DoctorReceiver receiver(std::move(*own), "secret", [](std::uint16_t) { return 0; });
  const std::string living_at = "http://127.0.0.1:" + std::to_string(port) + "/v1/traces";
  CHECK(reach_of(living_at, std::chrono::seconds(5)) == doctor::Reach::answers);
  receiver.die(doctor::Reach::refused);
  // Its thread closes it within a moment.
  while (reach_of(living_at, std::chrono::seconds(5)) != doctor::Reach::refused) std::this_thread::yield();
  CHECK(reach_of("http://127.0.0.1:1/v1/traces", limit) == doctor::Reach::refused);
}

TEST_CASE("the process that accepts a request is known, also where it answers and closes at once",
          "[doctor]") {
  os::Listener listener = listener_on_loopback();
  std::thread server([fd = listener.fd.get()] {
    const os::UniqueFd client(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
    char head[1024];
    std::string all;
    while (all.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = read(client.get(), head, sizeof head);
      if (n <= 0) return;
      all.append(head, static_cast<std::size_t>(n));
    }
    (void)!write(client.get(), "HTTP/1.0 204 None\r\n\r\n", 21);
  });
  const auto requests =
      ask(os::port_of(listener), "/x", {getpid()}, 1, std::chrono::seconds(10), [] { return true; });
  server.join();
  REQUIRE(requests.size() == 1);
  CHECK(requests[0].status == 204);
  CHECK(requests[0].pid == getpid());
  CHECK(requests[0].begin < requests[0].end);

  listener.fd.reset();
  const auto refused = ask(os::port_of(listener_on_loopback()), "/", {}, 3, std::chrono::milliseconds(200),
                           [] { return true; });
  REQUIRE_FALSE(refused.empty());
  CHECK(refused[0].status == 0);
}

TEST_CASE("what is no file in the folder of records does not hold the doctor up") {
  auto folder = os::TemporaryFolder::make("runmain-doctor");
  REQUIRE(folder);
  REQUIRE(mkfifo((folder->path() + "/7.jsonl").c_str(), 0600) == 0);
  REQUIRE(symlink("/etc/passwd", (folder->path() + "/8.jsonl").c_str()) == 0);
  doctor::Evidence evidence;
  read_records_in(folder->path(), evidence);
  CHECK(evidence.records_lost == 2);
  const std::string path = folder->path();
  { const os::TemporaryFolder gone = std::move(*folder); }
  CHECK(access(path.c_str(), F_OK) != 0);
}

TEST_CASE("who is killed leaves neither its tree nor its folder") {
  auto folder = os::TemporaryFolder::make("runmain-doctor");
  REQUIRE(folder);
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t killed = fork();
  REQUIRE(killed >= 0);
  if (killed == 0) {
    auto guard = DoctorGuard::start(0, folder->path());
    (void)!write(ends[1], guard ? "y" : "n", 1);
    pause();
    _exit(0);
  }
  char byte = 0;
  REQUIRE(read(ends[0], &byte, 1) == 1);
  CHECK(byte == 'y');
  kill(killed, SIGKILL);
  waitpid(killed, nullptr, 0);
  while (access(folder->path().c_str(), F_OK) == 0) std::this_thread::yield();
  close(ends[0]);
  close(ends[1]);
}
