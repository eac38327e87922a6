// What a destination does with requests and answers: no I/O, and the time is given.
#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/destination.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;
using namespace std::chrono_literals;

namespace {

using Type = DestinationFact::Type;

constexpr std::int64_t kWall = 1'700'000'000;

Time at(Duration d) { return Time(1000s + d); }

Parcel parcel(std::uint32_t items, std::size_t bytes = 100) {
  return {{ServiceId{1}, 0, 3, 1}, {Signal::traces, std::string(bytes, 'x'), items}, false};
}

Answer status(int code, std::string retry_after = {}) {
  Answer answer;
  answer.status = code;
  answer.retry_after = std::move(retry_after);
  return answer;
}

Answer fault(Answer::How how, std::string error) {
  Answer answer;
  answer.how = how;
  answer.error = std::move(error);
  return answer;
}

std::string partial(std::int64_t rejected, const std::string& message) {
  std::string inner;
  protozero::pbf_writer w{inner};
  if (rejected != 0) w.add_int64(1, rejected);
  if (!message.empty()) w.add_string(2, message);
  std::string out;
  protozero::pbf_writer{out}.add_message(1, inner);
  return out;
}

struct Scene {
  Destination destination;
  std::vector<DestinationFact> facts;

  explicit Scene(DestinationLimits limits = {}) : destination("collector:4318", limits, 1) {}

  std::uint64_t items(Type type) const {
    std::uint64_t sum = 0;
    for (const DestinationFact& fact : facts) sum += fact.type == type ? fact.items : 0;
    return sum;
  }
  std::size_t count(Type type) const {
    std::size_t n = 0;
    for (const DestinationFact& fact : facts) n += fact.type == type ? 1 : 0;
    return n;
  }
  std::string text(Type type) const {
    for (const DestinationFact& fact : facts) {
      if (fact.type == type) return fact.text;
    }
    return {};
  }
  // Sends what can be sent and answers it.
  bool send(Duration when, const Answer& answer) {
    const auto attempt = destination.next(at(when), facts);
    if (!attempt) return false;
    destination.answer(attempt->id, answer, at(when), kWall, facts);
    return true;
  }
};

}  // namespace

TEST_CASE("a status is taken, retried or final (requirement 45)") {
  struct Case {
    int status;
    char what;  // e: exported, r: rejected, a: again
  };
  const Case cases[] = {{200, 'e'}, {202, 'e'}, {204, 'e'}, {301, 'r'}, {400, 'r'}, {401, 'r'},
                        {404, 'r'}, {408, 'r'}, {413, 'r'}, {429, 'a'}, {500, 'r'}, {501, 'r'},
                        {502, 'a'}, {503, 'a'}, {504, 'a'}, {505, 'r'}};
  for (const Case& c : cases) {
    CAPTURE(c.status);
    Scene scene;
    CHECK(scene.destination.offer(parcel(5)).empty());
    REQUIRE(scene.send(0s, status(c.status)));
    CHECK(scene.items(Type::exported) == (c.what == 'e' ? 5 : 0));
    CHECK(scene.items(Type::rejected) == (c.what == 'r' ? 5 : 0));
    CHECK(scene.destination.parcels() == (c.what == 'a' ? 1 : 0));
    CHECK(scene.destination.bytes() == (c.what == 'a' ? 100 : 0));
    CHECK(is_retryable(c.status) == (c.what == 'a'));
  }
}

// Requirements 45 and 47.
TEST_CASE("without an answer it is tried again, and what may have arrived is counted as resent") {
  Scene scene;
  CHECK(scene.destination.offer(parcel(5)).empty());
  REQUIRE(scene.send(0s, fault(Answer::How::no_connection, "Connection refused")));
  CHECK(scene.text(Type::fails) == "Connection refused, retrying");
  REQUIRE(scene.send(60s, fault(Answer::How::cut_off, "Operation timed out")));
  CHECK(scene.items(Type::resent) == 0);
  REQUIRE(scene.send(120s, status(200)));
  CHECK(scene.items(Type::resent) == 5);
  CHECK(scene.items(Type::exported) == 5);
  CHECK(scene.count(Type::fails) == 1);
  CHECK(scene.text(Type::recovers) == "after 120 s and 2 attempts");
}

TEST_CASE("an answer that is too long is final (requirement 44)") {
  Scene scene;
  CHECK(scene.destination.offer(parcel(5)).empty());
  REQUIRE(scene.send(0s, fault(Answer::How::too_long, "")));
  CHECK(scene.items(Type::rejected) == 5);
  CHECK(scene.destination.parcels() == 0);
}

// Requirement 45.
TEST_CASE("the back-off doubles up to its limit, with jitter, and begins anew after an answer") {
  DestinationLimits limits;
  limits.backoff_first = 1s;
  limits.backoff_max = 8s;
  std::vector<Duration> delays;
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    Destination destination("x", limits, seed);
    std::vector<DestinationFact> facts;
    CHECK(destination.offer(parcel(1)).empty());
    Time now = at(0s);
    for (const Duration most : {1s, 2s, 4s, 8s, 8s, 8s}) {
      const auto attempt = destination.next(now, facts);
      REQUIRE(attempt);
      CHECK(destination.next_deadline() == kNever);  // it is in flight
      destination.answer(attempt->id, status(503), now, kWall, facts);
      const Duration delay = destination.next_deadline() - now;
      CHECK(delay >= most / 2);
      CHECK(delay <= most);
      CHECK_FALSE(destination.next(now + delay - 1ns, facts));
      delays.push_back(delay);
      now += delay;
    }
    const auto attempt = destination.next(now, facts);
    REQUIRE(attempt);
    destination.answer(attempt->id, status(200), now, kWall, facts);
    CHECK(destination.offer(parcel(1)).empty());
    CHECK(destination.next_deadline() <= now);
    const auto next = destination.next(now, facts);
    REQUIRE(next);
    destination.answer(next->id, status(503), now, kWall, facts);
    CHECK(destination.next_deadline() - now <= 1s);
  }
  CHECK(delays[0] != delays[6]);
  CHECK(delays[6] != delays[12]);
}

// Requirement 45.
TEST_CASE("Retry-After is honoured as seconds and as a date, within bounds") {
  struct Case {
    const char* value;
    Duration least;
    Duration most;
  };
  const Case cases[] = {
      {"7", 7s, 8s},
      {"0", 0s, 1s},
      {"Tue, 14 Nov 2023 22:13:30 GMT", 10s, 11s},  // kWall + 10 s
      {"999999999999999999999", 15min, 15min + 1s},
      {"soon", 500ms, 1s},
      {"", 500ms, 1s},
  };
  for (const Case& c : cases) {
    CAPTURE(c.value);
    Scene scene;
    CHECK(scene.destination.offer(parcel(1)).empty());
    REQUIRE(scene.send(0s, status(429, c.value)));
    const Duration delay = scene.destination.next_deadline() - at(0s);
    CHECK(delay >= c.least);
    CHECK(delay <= c.most);
  }
}

TEST_CASE("Retry-After in all forms of RFC 9110") {
  struct Case {
    const char* value;
    std::optional<std::chrono::seconds> expected;
  };
  const std::int64_t wall = 784111777 - 60;  // a minute before Sun, 06 Nov 1994 08:49:37 GMT
  const Case cases[] = {
      {"Sun, 06 Nov 1994 08:49:37 GMT", 60s},
      {"Sunday, 06-Nov-94 08:49:37 GMT", 60s},
      {"Sun Nov  6 08:49:37 1994", 60s},
      {"Sun, 06 Nov 1994 08:40:00 GMT", 0s},
      {" 120 ", 120s},
      {"-5", std::nullopt},
      {"1.5", std::nullopt},
      {"Sun, 06 Nov 1994", std::nullopt},
      {"", std::nullopt},
      {"  ", std::nullopt},
  };
  for (const Case& c : cases) {
    CAPTURE(c.value);
    CHECK(parse_retry_after(c.value, wall) == c.expected);
  }
}

TEST_CASE("a partial success is final, and its rejected spans are counted (requirement 46)") {
  struct Case {
    std::string body;
    bool json;
    std::uint64_t rejected;
    std::string warning;
  };
  const Case cases[] = {
      {"", false, 0, ""},
      {partial(2, "too old"), false, 2, "collector:4318 rejects 2 spans: too old"},
      {partial(0, "deprecated"), false, 0, "collector:4318 says: deprecated"},
      {partial(99, ""), false, 5, "collector:4318 rejects 5 spans"},
      {partial(-3, ""), false, 0, ""},
      {R"({"partialSuccess":{"rejectedSpans":"1","errorMessage":"\u001b[2J"}})", true, 1,
       "collector:4318 rejects 1 span: \\x1b[2J"},
      {"{}", true, 0, ""},
      {"<html>", false, 0, ""},
      {"<html>", true, 0, ""},
  };
  for (const Case& c : cases) {
    CAPTURE(c.body);
    Scene scene;
    CHECK(scene.destination.offer(parcel(5)).empty());
    Answer answer = status(200);
    answer.body = c.body;
    answer.json = c.json;
    REQUIRE(scene.send(0s, answer));
    CHECK(scene.items(Type::rejected) == c.rejected);
    CHECK(scene.items(Type::exported) == 5 - c.rejected);
    CHECK(scene.text(Type::warns) == c.warning);
    CHECK(scene.destination.parcels() == 0);
  }
}

// Requirement 46.
TEST_CASE("what is rejected is told with the reason, the same one once a minute") {
  Scene scene;
  Answer refusal = status(401);
  std::string body;
  protozero::pbf_writer{body}.add_string(2, "no such key");
  refusal.body = body;
  for (const Duration when : {0s, 10s, 59s, 61s}) {
    CHECK(scene.destination.offer(parcel(5)).empty());
    REQUIRE(scene.send(when, refusal));
  }
  CHECK(scene.text(Type::warns) == "collector:4318 rejects 5 spans: HTTP 401: no such key");
  CHECK(scene.count(Type::warns) == 2);
  CHECK(scene.count(Type::fails) == 0);
}

TEST_CASE("another status is another reason; other numbers, of spans or in a stranger's words, are none") {
  struct Step {
    int code;
    std::uint32_t spans;
    const char* words;
    std::size_t told;
  };
  const Step steps[] = {{404, 2, "7 of them", 1}, {404, 1, "8 of them", 1}, {401, 1, "8 of them", 2},
                        {500, 3, "8 of them", 3}, {500, 1, "9 of them", 3}, {500, 1, "no", 4}};
  Scene scene;
  for (const Step& step : steps) {
    Answer refusal = status(step.code);
    protozero::pbf_writer{refusal.body}.add_string(2, step.words);
    CHECK(scene.destination.offer(parcel(step.spans)).empty());
    REQUIRE(scene.send(0s, refusal));
    INFO(step.code << " " << step.words);
    CHECK(scene.count(Type::warns) == step.told);
  }
}

TEST_CASE("the queue is bounded in bytes: the oldest goes, but never what is in flight") {
  DestinationLimits limits;
  limits.queue_bytes = 1000;
  Scene scene(limits);
  for (std::uint32_t n = 1; n <= 3; ++n) CHECK(scene.destination.offer(parcel(n, 300)).empty());
  const auto attempt = scene.destination.next(at(0s), scene.facts);
  REQUIRE(attempt);
  auto overflow = scene.destination.offer(parcel(4, 300));
  REQUIRE(overflow.size() == 1);
  CHECK(overflow[0].request.items == 2);
  CHECK(scene.destination.bytes() == 900);
  CHECK_FALSE(scene.destination.has_room());
  overflow = scene.destination.offer(parcel(5, 2000));  // more than the whole queue
  CHECK(overflow.size() == 3);
  CHECK(overflow[2].request.items == 5);
  scene.destination.answer(attempt->id, status(200), at(1s), kWall, scene.facts);
  CHECK(scene.items(Type::exported) == 1);
  CHECK(scene.destination.bytes() == 0);
  CHECK(scene.destination.has_room());
}

TEST_CASE("several requests may be in flight, but one while it fails") {
  DestinationLimits limits;
  limits.in_flight = 3;
  Scene scene(limits);
  for (std::uint32_t n = 1; n <= 5; ++n) CHECK(scene.destination.offer(parcel(n)).empty());
  std::vector<std::uint64_t> ids;
  while (const auto attempt = scene.destination.next(at(0s), scene.facts)) ids.push_back(attempt->id);
  REQUIRE(ids.size() == 3);
  scene.destination.answer(ids[1], status(503), at(0s), kWall, scene.facts);
  CHECK_FALSE(scene.destination.next(at(100s), scene.facts));  // two are still in flight
  scene.destination.answer(ids[0], status(503), at(0s), kWall, scene.facts);
  scene.destination.answer(ids[2], status(503), at(0s), kWall, scene.facts);
  CHECK(scene.count(Type::fails) == 1);
  const auto first = scene.destination.next(at(100s), scene.facts);
  REQUIRE(first);
  CHECK(first->request->items == 1);  // in the old order
  CHECK_FALSE(scene.destination.next(at(100s), scene.facts));
  scene.destination.answer(first->id, status(200), at(100s), kWall, scene.facts);
  CHECK(scene.destination.next(at(100s), scene.facts));
  CHECK(scene.destination.next(at(100s), scene.facts));
}

TEST_CASE(
    "what is given away at the end says whether it may have arrived, and an answer that comes late is "
    "nothing") {
  DestinationLimits limits;
  Scene scene(limits);
  CHECK(scene.destination.offer(parcel(1)).empty());
  CHECK(scene.destination.offer(parcel(2)).empty());
  const auto attempt = scene.destination.next(at(0s), scene.facts);
  REQUIRE(attempt);
  const std::vector<Parcel> all = scene.destination.take_all();
  REQUIRE(all.size() == 2);
  CHECK(all[0].may_have_arrived);
  CHECK_FALSE(all[1].may_have_arrived);
  scene.destination.answer(attempt->id, status(200), at(1s), kWall, scene.facts);
  CHECK(scene.facts.empty());
  CHECK(scene.destination.next_deadline() == kNever);
}

TEST_CASE("random answers in random order: every parcel ends once, and the bytes are right") {
  const std::uint64_t seed = 5;
  CAPTURE(seed);
  Random random(seed);
  for (int round = 0; round < 200; ++round) {
    DestinationLimits limits;
    limits.queue_bytes = 2000;
    limits.in_flight = static_cast<std::uint32_t>(1 + random.below(4));
    Scene scene(limits);
    std::uint64_t offered = 0;
    std::uint64_t overflowed = 0;
    std::vector<std::uint64_t> flying;
    Duration now = 0s;
    for (int step = 0; step < 300; ++step) {
      now += std::chrono::milliseconds(random.below(3000));
      if (random.below(2) == 0) {
        offered += 3;
        for (const Parcel& p : scene.destination.offer(parcel(3, 1 + random.below(600))))
          overflowed += p.request.items;
      }
      if (const auto attempt = scene.destination.next(at(now), scene.facts)) flying.push_back(attempt->id);
      REQUIRE(flying.size() <= limits.in_flight);
      if (flying.empty() || random.below(2) == 0) continue;
      const std::size_t which = random.below(flying.size());
      static const Answer kAnswers[] = {status(200),
                                        status(503),
                                        status(400),
                                        status(429, "1"),
                                        fault(Answer::How::cut_off, "x"),
                                        fault(Answer::How::no_connection, "x")};
      scene.destination.answer(flying[which], kAnswers[random.below(std::size(kAnswers))], at(now), kWall,
                               scene.facts);
      flying.erase(flying.begin() + static_cast<std::ptrdiff_t>(which));
    }
    std::uint64_t left = 0;
    for (const Parcel& p : scene.destination.take_all()) left += p.request.items;
    CHECK(offered == overflowed + left + scene.items(Type::exported) + scene.items(Type::rejected));
    CHECK(scene.count(Type::fails) >= scene.count(Type::recovers));
    CHECK(scene.count(Type::fails) <= scene.count(Type::recovers) + 1);
    CHECK(scene.destination.bytes() == 0);
  }
}
