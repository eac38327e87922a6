// Requests on real sockets, to a collector that behaves as it likes.
#include <csignal>
#include <map>

#include "collector.hpp"
#include "os/loop/loop.hpp"
#include "spans.hpp"
#include "telemetry/gzip.hpp"
#include "telemetry/http_sender.hpp"
#include "telemetry/otlp_json.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;
using namespace std::chrono_literals;

namespace {

struct Scene {
  os::Loop loop;
  std::map<std::uint64_t, Answer> answers;
  std::unique_ptr<HttpSender> sender;

  explicit Scene(Endpoint endpoint) {
    std::signal(SIGPIPE, SIG_IGN);  // as the head has it
    auto made = HttpSender::make(loop, std::move(endpoint),
                                 [this](std::uint64_t id, const Answer& answer) { answers[id] = answer; });
    REQUIRE(made.ok());
    sender = std::move(*made);
  }
  Answer wait_for(std::uint64_t id) {
    const Time end = os::Loop::now() + 20s;
    while (answers.count(id) == 0 && os::Loop::now() < end) loop.turn(50ms);
    REQUIRE(answers.count(id) == 1);
    return answers[id];
  }
};

Endpoint endpoint_of(const std::string& url) {
  Endpoint endpoint;
  endpoint.url = url;
  return endpoint;
}

Request request_of(std::size_t spans = 1) {
  std::vector<std::string> all;
  for (std::size_t n = 0; n < spans; ++n) all.push_back(span_number(n + 1));
  return {Signal::traces, make_request(make_resource("web"), make_scope("lib"), all),
          static_cast<std::uint32_t>(spans)};
}

const Collector::Behave kFine = [](const Collector::Seen&, std::size_t) {
  return answer_text("200 OK", "", "");
};

}  // namespace

TEST_CASE("a request is a POST with the right fields, on one connection (requirement 43)") {
  const Collector collector(kFine);
  Endpoint endpoint = endpoint_of(collector.url("/v1/traces?x=1"));
  endpoint.headers = {{"api-key", "secret"}, {"x-empty", ""}};
  Scene scene(endpoint);
  const Request request = request_of(40000);  // so long that libcurl would ask for permission first
  CHECK(request.bytes.size() > (2U << 20U));
  for (std::uint64_t id = 1; id <= 3; ++id) {
    scene.sender->send(id, request);
    const Answer answer = scene.wait_for(id);
    CHECK(answer.how == Answer::How::answered);
    CHECK(answer.status == 200);
  }
  const auto seen = collector.seen();
  REQUIRE(seen.size() == 3);
  CHECK(seen[2].connection == 1);
  CHECK(seen[0].body == request.bytes);
  for (const char* part :
       {"POST /v1/traces?x=1 HTTP/1.1\r\n", "Content-Type: application/x-protobuf\r\n", "api-key: secret\r\n",
        "x-empty:\r\n",
        "User-Agent: runmain/" RUNMAIN_VERSION " OTel-OTLP-Exporter-cpp/" RUNMAIN_VERSION "\r\n"}) {
    CAPTURE(seen[0].head, part);
    CHECK(seen[0].head.find(part) != std::string::npos);
  }
  for (const char* none : {"Expect:", "Content-Encoding:", "Transfer-Encoding:"}) {
    CHECK(seen[0].head.find(none) == std::string::npos);
  }
}

// Requirements 42 and 43.
TEST_CASE("gzip and JSON are what they say they are") {
  const Collector collector(kFine);
  Endpoint endpoint = endpoint_of(collector.url());
  endpoint.gzip = true;
  endpoint.json = true;
  Scene scene(endpoint);
  const Request request = request_of(600);
  scene.sender->send(1, request);
  CHECK(scene.wait_for(1).status == 200);
  const auto seen = collector.seen();
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].head.find("Content-Type: application/json\r\n") != std::string::npos);
  CHECK(seen[0].head.find("Content-Encoding: gzip\r\n") != std::string::npos);
  const auto json = gunzip(seen[0].body, 10U << 20U);
  REQUIRE(json.ok());
  CHECK(from_json(request_message(Signal::traces), *json).value() ==
        from_json(request_message(Signal::traces), *to_json(request_message(Signal::traces), request.bytes))
            .value());
}

TEST_CASE("what a collector answers comes as it is") {
  const Collector collector([](const Collector::Seen&, std::size_t number) {
    switch (number) {
      case 1:
        return answer_text("429 Too Many", "Retry-After:  7 \r\ncontent-type: application/json\r\n", "{}");
      case 2: return answer_text("503 Busy", "RETRY-AFTER: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "");
      case 3:
        return answer_text("400 Bad", "Content-Type: application/x-protobuf\r\n",
                           "\x12\x03"
                           "bad");
      case 4: return answer_text("307 Elsewhere", "Location: http://127.0.0.1:1/\r\n", "");
      default: return answer_text("200 OK", "Content-Encoding: gzip\r\n", *gzip("compressed"));
    }
  });
  Scene scene(endpoint_of(collector.url()));
  const Request request = request_of();
  std::vector<Answer> answers;
  for (std::uint64_t id = 1; id <= 5; ++id) {
    scene.sender->send(id, request);
    answers.push_back(scene.wait_for(id));
  }
  CHECK(answers[0].status == 429);
  CHECK(answers[0].retry_after == "7");
  CHECK(answers[0].json);
  CHECK(answers[0].body == "{}");
  CHECK(answers[1].status == 503);
  CHECK(answers[1].retry_after == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK_FALSE(answers[1].json);
  CHECK(answers[2].status == 400);
  CHECK(answers[2].body ==
        "\x12\x03"
        "bad");
  CHECK(answers[3].status == 307);  // not followed
  CHECK(answers[4].body == "compressed");
}

TEST_CASE("an answer of more than 4 MiB is cut off, also one that grows (requirement 44)") {
  const Collector collector([](const Collector::Seen&, std::size_t number) {
    const std::string big(kAnswerBytesMax + 1, 'x');
    if (number == 1) return answer_text("200 OK", "", big);
    return answer_text("200 OK", "Content-Encoding: gzip\r\n", *gzip(big));
  });
  Scene scene(endpoint_of(collector.url()));
  const Request request = request_of();
  for (std::uint64_t id = 1; id <= 2; ++id) {
    scene.sender->send(id, request);
    const Answer answer = scene.wait_for(id);
    CHECK(answer.how == Answer::How::too_long);
    CHECK(answer.body.size() <= kAnswerBytesMax);
  }
}

TEST_CASE("nobody there, silence, and a connection that breaks are told apart") {
  const Request request = request_of();
  SECTION("refused") {
    std::string url;
    {
      const Collector gone(kFine);
      url = gone.url();
    }
    Scene scene(endpoint_of(url));
    scene.sender->send(1, request);
    const Answer answer = scene.wait_for(1);
    CHECK(answer.how == Answer::How::no_connection);
    CHECK(answer.error.find("onnect") != std::string::npos);
  }
  SECTION("silence") {
    const Collector collector([](const Collector::Seen&, std::size_t) { return Collector::kSilence; });
    Endpoint endpoint = endpoint_of(collector.url());
    endpoint.timeout = 100ms;
    Scene scene(endpoint);
    scene.sender->send(1, request);
    CHECK(scene.wait_for(1).how == Answer::How::cut_off);
    CHECK(collector.seen().size() == 1);
  }
  SECTION("closed without an answer") {
    const Collector collector([](const Collector::Seen&, std::size_t) { return std::string(); });
    Scene scene(endpoint_of(collector.url()));
    scene.sender->send(1, request);
    CHECK(scene.wait_for(1).how == Answer::How::cut_off);
  }
  SECTION("half an answer") {
    const Collector collector([](const Collector::Seen&, std::size_t) {
      return std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    });
    Endpoint endpoint = endpoint_of(collector.url());
    endpoint.timeout = 100ms;
    Scene scene(endpoint);
    scene.sender->send(1, request);
    CHECK(scene.wait_for(1).how == Answer::How::cut_off);
  }
  SECTION("no HTTP") {
    const Collector collector(
        [](const Collector::Seen&, std::size_t) { return std::string("220 smtp ready\r\n"); });
    Scene scene(endpoint_of(collector.url()));
    scene.sender->send(1, request);
    CHECK(scene.wait_for(1).how != Answer::How::answered);
  }
  SECTION("a name that is none") {
    Scene scene(endpoint_of("http://no.such.host.invalid:4318/"));
    scene.sender->send(1, request);
    CHECK(scene.wait_for(1).how == Answer::How::no_connection);
  }
  SECTION("TLS where there is none") {
    const Collector collector(kFine);
    Endpoint endpoint = endpoint_of("https" + collector.url().substr(4));
    endpoint.timeout = 200ms;
    Scene scene(endpoint);
    scene.sender->send(1, request);
    CHECK(scene.wait_for(1).how == Answer::How::no_connection);
  }
}

TEST_CASE("no proxy of the environment is asked") {
  const Collector collector(kFine);
  for (const char* name : {"http_proxy", "ALL_PROXY"}) setenv(name, "http://127.0.0.1:1", 1);
  Scene scene(endpoint_of(collector.url()));
  const Request request = request_of();
  scene.sender->send(1, request);
  CHECK(scene.wait_for(1).status == 200);
  for (const char* name : {"http_proxy", "ALL_PROXY"}) unsetenv(name);
}

TEST_CASE("several requests at once each get their answer, and a sender can die with requests on their way") {
  const Collector collector([](const Collector::Seen&, std::size_t number) {
    return number <= 20 ? answer_text("200 OK", "", "") : Collector::kSilence;
  });
  const Request request = request_of(2000);
  Scene scene(endpoint_of(collector.url()));
  for (std::uint64_t id = 1; id <= 20; ++id) scene.sender->send(id, request);
  CHECK(scene.sender->in_flight() == 20);
  for (std::uint64_t id = 1; id <= 20; ++id) CHECK(scene.wait_for(id).status == 200);
  CHECK(scene.sender->in_flight() == 0);
  for (std::uint64_t id = 21; id <= 23; ++id) scene.sender->send(id, request);
  while (collector.seen().size() < 23) scene.loop.turn(10ms);
  scene.sender.reset();
  scene.loop.turn(1ms);
  CHECK(scene.answers.size() == 20);
}

TEST_CASE("a destination and a sender: refused twice, then all arrives once") {
  const Collector collector([](const Collector::Seen&, std::size_t number) {
    return number <= 2 ? answer_text("503 Busy", "Retry-After: 0\r\n", "") : answer_text("200 OK", "", "");
  });
  DestinationLimits limits;
  limits.backoff_first = 5ms;
  Destination destination("collector", limits, 1);
  std::vector<DestinationFact> facts;
  Scene scene(endpoint_of(collector.url()));
  for (std::uint32_t n = 1; n <= 4; ++n) CHECK(destination.offer({{}, request_of(n), false}).empty());
  const Time end = os::Loop::now() + 20s;
  while (destination.parcels() > 0 && os::Loop::now() < end) {
    if (const auto attempt = destination.next(os::Loop::now(), facts))
      scene.sender->send(attempt->id, *attempt->request);
    scene.loop.turn(1ms);
    for (const auto& [id, answer] : std::exchange(scene.answers, {})) {
      destination.answer(id, answer, os::Loop::now(), 0, facts);
    }
  }
  std::uint64_t exported = 0;
  for (const DestinationFact& fact : facts)
    exported += fact.type == DestinationFact::Type::exported ? fact.items : 0;
  CHECK(exported == 10);
  CHECK(collector.seen().size() == 6);
}
