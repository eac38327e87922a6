// The blocking client against scripted servers, in another thread.
#include <thread>

#include "control/client.hpp"
#include "fake_backend.hpp"
#include "support/catch.hpp"

namespace runmain::control {
namespace {

using std::chrono::milliseconds;

// Accepts one client, reads one line, writes `bytes` and hangs up.
class Script {
 public:
  explicit Script(std::string bytes, bool hang_up = true) : bytes_(std::move(bytes)), hang_up_(hang_up) {
    thread_ = std::thread([this] { play(); });
  }
  ~Script() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  Script(const Script&) = delete;
  Script& operator=(const Script&) = delete;
  std::string path() const { return path_; }

 private:
  void play() {
    pollfd p{listener_.get(), POLLIN, 0};
    poll(&p, 1, 20'000);
    os::UniqueFd fd(accept(listener_.get(), nullptr, nullptr));
    char c = 0;
    while (fd && read(fd.get(), &c, 1) == 1 && c != '\n') continue;
    for (std::size_t at = 0; fd && at < bytes_.size();) {
      const ssize_t n =
          send(fd.get(), bytes_.data() + at, std::min<std::size_t>(7, bytes_.size() - at), MSG_NOSIGNAL);
      if (n <= 0) break;
      at += static_cast<std::size_t>(n);
    }
    if (!hang_up_ && fd) (void)!read(fd.get(), &c, 1);
  }

  Folder folder_;
  std::string path_ = folder_.path() + "/control";
  os::UniqueFd listener_ = std::move(*listen_at(path_, 0600));
  std::string bytes_;
  bool hang_up_;
  std::thread thread_;
};

TEST_CASE("a client gets items, then the answer, in whatever pieces they come") {
  Script script(R"({"id":1,"item":{"n":1}})"
                "\n"
                R"({"id":1,"item":{"n":2}})"
                "\n"
                R"({"id":1,"ok":{"x":3}})"
                "\n");
  auto client = Client::connect(script.path());
  REQUIRE(client.ok());
  std::vector<Json> items;
  const auto answer = client->call("logs", Json::object(), kNever, [&](const Json& item) {
    items.push_back(item);
    return true;
  });
  REQUIRE(answer.ok());
  CHECK(answer->ok);
  CHECK(answer->value["x"] == 3);
  REQUIRE(items.size() == 2);
  CHECK(items[1]["n"] == 2);
}

TEST_CASE("an error is an answer, with code, place and hint") {
  Script script(R"({"id":1,"error":{"code":"failed","message":"m","at":"f:1:2","hint":"h"}})"
                "\n");
  auto client = Client::connect(script.path());
  REQUIRE(client.ok());
  const auto answer = client->call("start", Json::object());
  REQUIRE(answer.ok());
  CHECK_FALSE(answer->ok);
  CHECK(answer->code == "failed");
  CHECK(answer->error.text() == "f:1:2: m (h)");
}

TEST_CASE("what goes wrong on the way is told by its code") {
  struct Case {
    const char* bytes;
    bool hang_up;
    int code;
  };
  const Case cases[] = {{"", true, ECONNRESET},
                        {R"({"id":1,"ok")", true, ECONNRESET},
                        {"rubbish\n", true, EPROTO},
                        {"[]\n", true, EPROTO},
                        {"", false, ETIMEDOUT}};
  for (const Case& c : cases) {
    Script script(c.bytes, c.hang_up);
    auto client = Client::connect(script.path());
    REQUIRE(client.ok());
    const Time deadline = c.code == ETIMEDOUT ? deadline_after(milliseconds(30)) : kNever;
    const auto answer = client->call("status", Json::object(), deadline);
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code == c.code);
    client = Error{"closed"};
  }
}

TEST_CASE("where nothing listens the client says so at once") {
  const Folder folder;
  CHECK(Client::connect(folder.path() + "/control").error().code == ENOENT);
  { const auto gone = listen_at(folder.path() + "/control", 0600); }
  CHECK(Client::connect(folder.path() + "/control").error().code == ECONNREFUSED);
  CHECK(Client::connect(std::string(200, 'x')).error().code == ENAMETOOLONG);
}

}  // namespace
}  // namespace runmain::control
