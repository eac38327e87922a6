// The observer's facts as lines for a person, from an observer that is played here.
#include "app/observer_client.hpp"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::app;
using namespace std::chrono_literals;
using Json = nlohmann::json;

TEST_CASE("a fact of the observer is a line where a person should know it") {
  struct Row {
    const char* fact;
    const char* text;  // empty: no line
    Tone tone;
  };
  const Row rows[] = {
      {R"({"v":1,"fact":"destination.fails","text":"http://c:4318: connection refused"})",
       "http://c:4318: connection refused", Tone::bad},
      {R"({"v":1,"fact":"destination.recovers","text":"c is back"})", "c is back", Tone::good},
      {R"({"v":1,"fact":"spans.duplicated","service":"web","text":"each span comes twice"})",
       "web: each span comes twice", Tone::bad},
      {R"({"v":1,"fact":"spans.duplicated","service":"web","text":"web sends twice"})", "web sends twice",
       Tone::bad},
      {R"({"v":1,"fact":"ledger.ended","service":"web","generation":3,"ended":2,"text":"ended 2"})",
       "web, generation 3: ended 2", Tone::faint},
      {R"({"v":1,"fact":"ledger.ended","service":"web","generation":3,"ended":0,"text":"ended 0"})", "",
       Tone::faint},
      {R"({"v":1,"fact":"ledger.ended","service":"web","ended":0,"text":"x","imbalance":"1 span went on twice"})",
       "web: x: 1 span went on twice", Tone::bad},
      {R"({"v":1,"fact":"mailbox.refused","text":"a\u001b[31mb\nc"})", "ab\\x0ac", Tone::bad},
      {R"({"v":1,"fact":"lane.aside","text":""})", "", Tone::bad},
      {R"({"v":1,"fact":"moon.risen","text":"x"})", "", Tone::bad},
      {R"({"v":1,"fact":5,"text":"x"})", "", Tone::bad},
      {R"([1])", "", Tone::bad},
      {R"(null)", "", Tone::bad},
  };
  for (const Row& row : rows) {
    INFO(row.fact);
    const auto line = line_of_fact(Json::parse(row.fact));
    CHECK((line ? line->text : "") == row.text);
    if (line) CHECK(line->tone == row.tone);
  }
  const auto line = line_of_fact(Json{{"fact", "destination.warns"}, {"text", std::string(100000, 'x')}});
  REQUIRE(line);
  CHECK(line->text.size() < 600);
}

namespace {

// A socket that somebody may listen on, in a folder of its own.
class Place {
 public:
  Place() {
    char name[] = "/tmp/runmain-test-observer-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    folder_ = name;
  }
  ~Place() {
    unlink(path().c_str());
    rmdir(folder_.c_str());
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  std::string path() const { return folder_ + "/observer"; }

  os::UniqueFd listen() const {
    unlink(path().c_str());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path().c_str(), path().size());
    os::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    REQUIRE(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(fd.get(), 8) == 0);
    return fd;
  }

 private:
  std::string folder_;
};

struct Follower {
  os::Loop loop;
  std::vector<std::string> said;
  ObserverClient client;
  explicit Follower(const Place& place)
      : client(loop, place.path(), [this](const Line& line) { said.push_back(line.text); }) {}

  template <class Condition>
  bool until(Condition met) {
    const Time end = os::Loop::now() + 10s;
    while (!met()) {
      if (os::Loop::now() >= end) return false;
      loop.turn(10ms);
    }
    return true;
  }
  os::UniqueFd accept(int listener) {
    os::UniqueFd fd;
    until([&] {
      fd.reset(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
      return static_cast<bool>(fd);
    });
    REQUIRE(fd);
    char question[256];
    const ssize_t n = recv(fd.get(), question, sizeof question, 0);
    REQUIRE(n > 0);
    CHECK(Json::parse(std::string(question, static_cast<std::size_t>(n)))["verb"] == "follow");
    return fd;
  }
};

void tell(const os::UniqueFd& fd, const std::string& text) {
  REQUIRE(send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
}

std::string fact(const std::string& text) {
  return Json{{"v", 1}, {"fact", "destination.fails"}, {"text", text}}.dump() + "\n";
}

}  // namespace

TEST_CASE("an observer that comes later, dies and comes again is followed all the same") {
  const Place place;
  Follower f(place);
  f.client.start();  // nobody is there yet
  f.client.start();
  os::UniqueFd listener = place.listen();
  {
    const os::UniqueFd observer = f.accept(listener.get());
    const std::string one = fact("one");
    tell(observer, one.substr(0, 9));
    tell(observer, one.substr(9) + "no json\n[]\n" + fact("two"));
    CHECK(f.until([&] { return f.said.size() == 2; }));
  }
  const os::UniqueFd again = f.accept(listener.get());
  tell(again, fact("three"));
  CHECK(f.until([&] { return f.said.size() == 3; }));
  CHECK(f.said == std::vector<std::string>{"one", "two", "three"});
}

TEST_CASE("an observer that floods is counted and one that never ends its line is left") {
  const Place place;
  Follower f(place);
  const os::UniqueFd listener = place.listen();
  f.client.start();
  const os::UniqueFd observer = f.accept(listener.get());
  std::string flood;
  for (std::size_t i = 0; i < ObserverClient::kLinesMax + 5; ++i) flood += fact("x");
  tell(observer, flood);
  CHECK(f.until([&] { return f.said.size() == ObserverClient::kLinesMax + 1; }));
  CHECK(f.said.back() == "telemetry: 5 lines more");

  const std::string endless(ObserverClient::kLineMax * 2, ' ');
  std::size_t sent = 0;
  bool hung_up = false;
  f.until([&] {
    const ssize_t n = send(observer.get(), endless.data(), endless.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) sent += static_cast<std::size_t>(n);
    hung_up = n < 0 && errno == EPIPE;
    return hung_up;
  });
  CHECK(hung_up);
  CHECK(sent > ObserverClient::kLineMax);
  f.accept(listener.get());  // and is asked again
}

TEST_CASE("at its end a head says what was told up to then, and waits for no observer that hangs") {
  const Place place;
  Follower f(place);
  const os::UniqueFd listener = place.listen();
  f.client.start();
  {
    const os::UniqueFd observer = f.accept(listener.get());
    tell(observer, fact("one") + fact("two"));
    const Time begun = os::Loop::now();
    f.client.end();  // the observer has not hung up
    CHECK(os::Loop::now() - begun >= ObserverClient::kFarewell);
    CHECK(os::Loop::now() - begun < 5s);
  }
  CHECK(f.said == std::vector<std::string>{"one", "two"});
  f.client.start();
  f.loop.turn(10ms);
  CHECK(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC) < 0);  // it hears no more
}
