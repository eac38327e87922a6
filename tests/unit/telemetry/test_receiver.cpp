// The receiver with real sockets.
#include "receiver_world.hpp"
#include "telemetry/gzip.hpp"
#include "telemetry/otlp_wire.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;
using namespace runmain::telemetry::test::receiving;

TEST_CASE("what a client sends is handed over with its worker, and answered when it is saved") {
  World world;
  world.saves_at_once = false;
  Peer peer(world);
  peer.say(post(spans_of(0, 3)));
  REQUIRE(world.until([&] { return world.seen.size() == 1; }));
  CHECK(peer.hears_nothing());
  CHECK(world.seen[0].worker == kWorker);
  CHECK(world.seen[0].signal == Signal::traces);
  CHECK(world.seen[0].items == std::vector<std::string>{span_number(0), span_number(1), span_number(2)});
  world.unsaved[0]();
  CHECK(is_200(peer.hear()));
  world.unsaved[0]();  // twice says nothing more
  CHECK(peer.hears_nothing());
  // The connection is kept.
  peer.say(post(spans_of(3, 4), token_field(kOther)));
  REQUIRE(world.until([&] { return world.seen.size() == 2; }));
  CHECK(world.seen[1].worker == kOther);
  CHECK(world.seen[1].connection == world.seen[0].connection);
  CHECK(world.seen[1].request != world.seen[0].request);
  world.unsaved[1]();
  CHECK(is_200(peer.hear()));
  CHECK(world.receiver.counters().requests == 2);
  CHECK(world.receiver.counters().connections == 1);
}

// Requirement 50.
TEST_CASE("all signals and both encodings and gzip are taken on one port") {
  World world;
  Peer peer(world);
  const struct {
    const char* path;
    const char* type;
    std::string body;
    bool zipped;
    Signal signal;
    const char* answer;
  } rows[] = {
      {"/v1/traces", "application/x-protobuf", spans_of(0, 1), true, Signal::traces, "\r\n\r\n"},
      {"/v1/logs", "application/json",
       R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]})", false,
       Signal::logs, "\r\n\r\n{}"},
      {"/v1/metrics", "application/json; charset=utf-8",
       R"({"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gauge":{}}]}]}]})", true,
       Signal::metrics, "\r\n\r\n{}"},
      {"http://127.0.0.1:4318/v1/traces?x", "Application/X-Protobuf", spans_of(0, 1), false, Signal::traces,
       "\r\n\r\n"},
  };
  for (const auto& row : rows) {
    const std::string fields = token_field() + (row.zipped ? "Content-Encoding: gzip\r\n" : "");
    peer.say(post(row.zipped ? *gzip(row.body) : row.body, fields, row.path, row.type));
    const std::string answer = peer.hear();
    CHECK(is_200(answer));
    CHECK(answer.ends_with(row.answer));
    REQUIRE_FALSE(world.seen.empty());
    CHECK(world.seen.back().signal == row.signal);
    CHECK(world.seen.back().items.size() == 1);
  }
}

// Requirement 50.
TEST_CASE("an empty request is answered without the taker") {
  World world;
  world.full = true;
  Peer peer(world);
  peer.say(post(""));
  CHECK(is_200(peer.hear()));
  peer.say(post("{}", token_field(), "/v1/logs", "application/json"));
  CHECK(is_200(peer.hear()));
  CHECK(world.receiver.counters().requests == 2);
}

// Requirement 50.
TEST_CASE("chunks are put together, however they come") {
  World world;
  Peer peer(world);
  const std::string body = spans_of(0, 2);
  std::string bytes = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n" +
                      token_field() + "Transfer-Encoding: chunked\r\n\r\n";
  for (const char c : body) bytes += std::string("1\r\n") + c + "\r\n";
  bytes += "0\r\n\r\n";
  for (const char c : bytes) {
    peer.say(std::string(1, c));
    if (c == '\n') world.loop.turn(Duration::zero());
  }
  CHECK(is_200(peer.hear()));
  REQUIRE(world.seen.size() == 1);
  CHECK(world.seen[0].items.size() == 2);
}

TEST_CASE("pipelined requests are answered in their order, each when it is saved") {
  World world;
  world.saves_at_once = false;
  Peer peer(world);
  peer.say(post(spans_of(0, 1)) + post(spans_of(1, 2)) + post("x", token_field(), "/v2") +
           post(spans_of(2, 3)));
  REQUIRE(world.until([&] { return world.seen.size() == 1; }));
  CHECK(peer.hears_nothing());
  CHECK(world.seen.size() == 1);  // one at a time
  world.unsaved[0]();
  CHECK(is_200(peer.hear()));
  REQUIRE(world.until([&] { return world.seen.size() == 2; }));
  world.saves_at_once = true;
  world.unsaved[1]();
  CHECK(is_200(peer.hear()));
  CHECK(peer.hear().starts_with("HTTP/1.1 404 "));
  CHECK(is_200(peer.hear()));
  CHECK(world.seen[2].items == std::vector<std::string>{span_number(2)});
}

TEST_CASE("hundreds of pipelined requests are all answered") {
  World world;
  Peer peer(world);
  std::string bytes;
  for (std::uint64_t n = 0; n < 500; ++n) bytes += post(spans_of(n, n + 1));
  peer.say(bytes);
  for (int n = 0; n < 500; ++n) REQUIRE(is_200(peer.hear()));
  CHECK(world.seen.size() == 500);
}

TEST_CASE("who awaits 100 Continue gets it, or the refusal instead of it") {
  World world;
  const std::string body = spans_of(0, 1);
  const auto head = [&](const std::string& token) {
    return "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n" + token +
           "Expect: 100-continue\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  };
  Peer peer(world);
  peer.say(head(token_field()));
  CHECK(peer.hear() == "HTTP/1.1 100 Continue\r\n\r\n");
  peer.say(body);
  CHECK(is_200(peer.hear()));
  peer.say(head(token_field()) + body);  // it does not wait
  CHECK(is_200(peer.hear()));
  Peer stranger(world);
  stranger.say(head(""));
  CHECK(stranger.hear().starts_with("HTTP/1.1 401 "));
  stranger.finish();
  CHECK(stranger.ended());
}

TEST_CASE("who shows no token of ours is told what to do, and nothing of it is taken") {
  World world;
  Peer peer(world);
  peer.say(post(spans_of(0, 1), ""));
  const std::string answer = peer.hear();
  CHECK(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"));
  CHECK(answer.find("Content-Type: application/x-protobuf\r\n") != std::string::npos);
  CHECK(answer.find("OTEL_EXPORTER_OTLP_HEADERS") != std::string::npos);
  peer.say(post(spans_of(0, 1), "runmain-token: " + otlp_token("another secret", kWorker) + "\r\n"));
  CHECK(peer.hear().starts_with("HTTP/1.1 401 "));
  CHECK(world.seen.empty());
  CHECK(world.receiver.counters().no_token == 1);
  CHECK(world.receiver.counters().foreign_token == 1);
  CHECK(world.receiver.last_refusal() == "401 POST /v1/traces");
  peer.say(post("", "User-Agent: a\x9b\xff " + std::string(500, 'x') + "\r\n"));
  CHECK(peer.hear().starts_with("HTTP/1.1 401 "));
  CHECK(world.receiver.last_refusal().starts_with("401 POST /v1/traces (a\\x9b\\xff xxx"));
  CHECK(world.receiver.last_refusal().size() < 120);
  peer.say(post(spans_of(0, 1)));  // the connection is kept all the same
  CHECK(is_200(peer.hear()));
}

TEST_CASE("a taker that is full makes the client come again, and nothing is counted as taken") {
  World world;
  world.full = true;
  Peer peer(world);
  peer.say(post(spans_of(0, 1)));
  const std::string answer = peer.hear();
  CHECK(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
  CHECK(answer.find("Retry-After: 1\r\n") != std::string::npos);
  CHECK(world.receiver.counters().full == 1);
  CHECK(world.receiver.counters().requests == 0);
  world.full = false;
  peer.say(post(spans_of(0, 1)));
  CHECK(is_200(peer.hear()));
}

// Requirement 50.
TEST_CASE("bad data is 400 and its connection goes on; broken framing is 400 and ends it") {
  World world;
  Peer peer(world);
  peer.say(post("\xff\xff"));
  CHECK(peer.hear().starts_with("HTTP/1.1 400 Bad Request\r\n"));
  SpanSpec bad;
  bad.span = "12";
  peer.say(post(make_request("", "", {make_span(bad)})));
  CHECK(peer.hear().starts_with("HTTP/1.1 400 "));
  REQUIRE(world.seen.size() == 1);  // for the ledger
  CHECK(world.seen[0].invalid == 1);
  CHECK(world.receiver.counters().bad_data == 2);
  peer.say("POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
  const std::string answer = peer.hear();
  CHECK(answer.starts_with("HTTP/1.1 400 "));
  CHECK(answer.find("Connection: close\r\n") != std::string::npos);
  peer.finish();
  CHECK(peer.ended());
  CHECK(world.until([&] { return world.receiver.clients() == 0; }));
  CHECK(world.receiver.counters().bad_http == 1);
}

TEST_CASE("HEAD has no body and HTTP/1.0 has no second request and gRPC is counted") {
  World world;
  Peer head(world);
  head.say("HEAD /v1/traces HTTP/1.1\r\nHost: x\r\n" + token_field() + "Connection: close\r\n\r\n");
  head.finish();
  CHECK(head.ended());
  const std::string answer = head.hear();
  CHECK(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
  CHECK(answer.find("Allow: POST\r\n") != std::string::npos);
  CHECK(answer.ends_with("\r\n\r\n"));
  Peer old(world);
  old.say("POST /v1/traces HTTP/1.0\r\nContent-Type: application/json\r\n" + token_field() +
          "Content-Length: 2\r\n\r\n{}");
  old.finish();
  CHECK(is_200(old.hear()));
  CHECK(old.ended());
  Peer grpc(world);
  grpc.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  CHECK(grpc.hear().starts_with("HTTP/1.1 505 "));
  CHECK(world.receiver.counters().grpc == 1);
}

TEST_CASE("a client that closes its side after a request gets its answer") {
  World world;
  world.saves_at_once = false;
  Peer peer(world);
  peer.say(post(spans_of(0, 1)));
  peer.finish();
  REQUIRE(world.until([&] { return world.seen.size() == 1; }));
  world.settle();
  world.unsaved[0]();
  CHECK(is_200(peer.hear()));
  CHECK(peer.ended());
}

// Requirement 50.
TEST_CASE("a large body comes whole, and one that is too large is refused while it comes") {
  ReceiverLimits limits;
  limits.http.body = 4U << 20U;
  World world(limits);
  SpanSpec spec;
  spec.name = std::string(3U << 20U, 'n');
  Peer peer(world);
  peer.say(post(make_request("", "", {make_span(spec)})));
  CHECK(is_200(peer.hear()));
  REQUIRE(world.seen.size() == 1);
  CHECK(world.seen[0].items[0] == make_span(spec));
  Peer large(world);
  large.say("POST /v1/traces HTTP/1.1\r\nHost: x\r\n" + token_field() + "Transfer-Encoding: chunked\r\n\r\n");
  const std::string chunk(1U << 20U, 'x');
  for (int i = 0; i < 6; ++i) large.say("100000\r\n" + chunk + "\r\n");
  CHECK(large.hear().starts_with("HTTP/1.1 413 "));
  CHECK(large.ended());
}

TEST_CASE("what all clients have on its way is bounded, and strangers have nothing of it") {
  ReceiverLimits limits;
  limits.held = 1U << 20U;
  World world(limits);
  const std::string body = make_request("", "", {make_span({.name = std::string(700000, 'n')})});
  const std::string whole = post(body);
  Peer stranger(world);
  stranger.say(post(body, "").substr(0, 650000));
  Peer first(world);
  first.say(whole.substr(0, 650000));
  REQUIRE(world.until([&] { return world.receiver.held() > 640000; }));
  Peer second(world);
  second.say(whole);
  CHECK(second.hear().starts_with("HTTP/1.1 503 "));
  first.say(whole.substr(650000));
  CHECK(is_200(first.hear()));
  second.say(whole);
  CHECK(is_200(second.hear()));
  CHECK(world.receiver.counters().full == 1);
}

TEST_CASE("a request that takes too long is given up, at whatever pace its bytes come") {
  ReceiverLimits limits;
  limits.request = std::chrono::milliseconds(150);
  World world(limits);
  Peer slow(world);
  slow.say("POST /v1/traces HTTP/1.1\r\nHost: x\r\nA: ");
  const Time end = os::Loop::now() + kPatience;
  for (int sent = 0; world.receiver.counters().slow == 0 && os::Loop::now() < end; ++sent) {
    if (sent < 8000) slow.say("a");  // within the head's limit, however fast we are
    world.loop.turn(std::chrono::milliseconds(10));
  }
  CHECK(slow.hear().starts_with("HTTP/1.1 408 "));
  Peer silent(world);
  CHECK(silent.ended());
  CHECK(silent.hear().empty());
}

TEST_CASE("a client between requests is closed after a while, and without a word") {
  ReceiverLimits limits;
  limits.idle = std::chrono::milliseconds(100);
  World world(limits);
  Peer peer(world);
  peer.say(post(spans_of(0, 1)));
  CHECK(is_200(peer.hear()));
  CHECK(peer.ended());
  CHECK(peer.hear().empty());
  CHECK(world.receiver.clients() == 0);
  CHECK(world.receiver.counters().slow == 0);
}

TEST_CASE("what is not saved in time is to come again, and a late word about it is nothing") {
  ReceiverLimits limits;
  limits.answer = std::chrono::milliseconds(100);
  World world(limits);
  world.saves_at_once = false;
  Peer peer(world);
  peer.say(post(spans_of(0, 1)));
  CHECK(peer.hear().starts_with("HTTP/1.1 503 "));
  CHECK(world.receiver.counters().late == 1);
  world.unsaved[0]();
  peer.finish();
  CHECK(peer.ended());
}

TEST_CASE("when all places are taken strangers go first, then who rests longest") {
  ReceiverLimits limits;
  limits.clients = 3;
  World world(limits);
  Peer first(world);
  first.say(post(spans_of(0, 1)));
  CHECK(is_200(first.hear()));
  Peer stranger(world);
  stranger.say("POST");
  Peer second(world);
  second.say(post(spans_of(1, 2)));
  CHECK(is_200(second.hear()));
  Peer third(world);
  third.say(post(spans_of(2, 3)));
  CHECK(is_200(third.hear()));
  CHECK(stranger.ended());
  CHECK(world.receiver.counters().evicted == 1);
  // All three rest: one that has rested for a second goes, and until then the fourth waits.
  Peer fourth(world);
  fourth.say(post(spans_of(3, 4)));
  CHECK(is_200(fourth.hear()));
  CHECK(first.ended());
  CHECK(world.receiver.counters().evicted == 2);
  second.say(post(spans_of(4, 5)));
  CHECK(is_200(second.hear()));
}

TEST_CASE("a taker may save others while it takes, and none of them is taken within") {
  World world;
  world.saves_at_once = false;
  Peer first(world);
  first.say(post(spans_of(0, 1)) + post(spans_of(1, 2)));
  REQUIRE(world.until([&] { return world.seen.size() == 1; }));
  int depth = 0;
  int deepest = 0;
  std::vector<std::function<void()>> waiting;
  World* w = &world;
  waiting.push_back(world.unsaved[0]);
  // A receiver of its own, whose taker saves all that waits, as a flush does.
  Listener listener;
  std::size_t taken = 0;
  Receiver receiver(w->loop, os::UniqueFd(dup(listener.fd.get())), kSecret,
                    [&](const Received&, const std::function<void()>& saved) {
                      ++depth;
                      deepest = std::max(deepest, depth);
                      waiting.push_back(saved);
                      ++taken;
                      if (taken % 2 == 0) {
                        for (const auto& save : std::exchange(waiting, {})) save();
                      }
                      --depth;
                      return Taken::ok;
                    });
  world.listener.port = listener.port;
  Peer a(world);
  Peer b(world);
  a.say(post(spans_of(0, 1)) + post(spans_of(1, 2)));
  REQUIRE(world.until([&] { return taken == 1; }));
  b.say(post(spans_of(2, 3)) + post(spans_of(3, 4)));
  CHECK(is_200(a.hear()));
  CHECK(is_200(b.hear()));
  CHECK(is_200(a.hear()));
  CHECK(is_200(b.hear()));
  CHECK(is_200(first.hear()));
  CHECK(deepest == 1);
  CHECK(taken == 4);
}

TEST_CASE("what is saved after the receiver or its client is gone reaches nobody") {
  std::function<void()> kept;
  {
    World world;
    world.saves_at_once = false;
    {
      Peer gone(world);
      gone.say(post(spans_of(0, 1)));
      REQUIRE(world.until([&] { return world.seen.size() == 1; }));
    }
    world.unsaved[0]();
    CHECK(world.until([&] { return world.receiver.clients() == 0; }));
    Peer peer(world);
    peer.say(post(spans_of(0, 1)));
    REQUIRE(world.until([&] { return world.seen.size() == 2; }));
    kept = world.unsaved[1];
  }
  kept();
}

TEST_CASE("a receiver that retires answers what has begun, and its listener is free") {
  World world;
  world.saves_at_once = false;
  Peer begun(world);
  begun.say(post(spans_of(0, 1)).substr(0, 40));
  Peer waiting(world);
  waiting.say(post(spans_of(1, 2)));
  REQUIRE(world.until([&] { return world.seen.size() == 1; }));
  Peer rests(world);
  world.settle();
  world.receiver.retire();
  CHECK(rests.ended());
  world.unsaved[0]();
  const std::string answer = waiting.hear();
  CHECK(is_200(answer));
  CHECK(answer.find("Connection: close\r\n") != std::string::npos);
  world.saves_at_once = true;
  begun.say(post(spans_of(0, 1)).substr(40));
  CHECK(is_200(begun.hear()));
  Peer later(world);
  world.settle();
  const os::UniqueFd by_next(accept(world.listener.fd.get(), nullptr, nullptr));
  CHECK(by_next);
}
