// Random damage to a good file: never a crash, and every fault has a place inside the file.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "base/text.hpp"
#include "config/config.hpp"
#include "config/source.hpp"
#include "golden.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;

namespace {

constexpr int kRounds = 20000;

constexpr const char* kGood = R"(# a file with every key
[runmain]
mode = "dev"
[service.web]
command = ["./server", "--fd", "{fd:http}", "{fd}"]
listen = [{ name = "http", address = "127.0.0.1:8000" }, "[::1]:0", ":8001", "unix:/run/web.sock", "udp:127.0.0.1:53"]
workers = 2
watch = { paths = ["src"], ignore = ["*.md"], build = { command = "make && x", shell = true }, settle = "50ms" }
ready = { http = "/health", timeout = "10s" }
stop = { signal = "TERM", timeout = "10s", to = "group" }
restart = { policy = "always", initial = "1s", max = "1m", factor = 1.5, jitter = 0.1, burst = 5, reset = "1m30s" }
depends_on = ["db"]
env = { LOG_LEVEL = "debug", N = 1, T = true, F = 1.5 }
env_file = ".env"
cwd = "."
overlap = true
log = { file = "web.log", max_size = "10MB", keep = 5 }
user = "www"
group = 33
umask = "027"
limits = { nofile = 4096, core = "unlimited", stack = { soft = "8MiB", hard = "1GB" } }
on_keeper_death = "stop"
[service.db]
command = 'db "a b"'
port = "auto"
ready = { after = "500ms" }
# ä ö
[service."j.o"]
command = """one \
  two"""
shell = true
)";

constexpr const char* kPieces[] = {"\"",          "'",
                                   "[",           "]",
                                   "{",           "}",
                                   "=",           ".",
                                   ",",           "#",
                                   "\n",          "\\",
                                   "\"\"\"",      "'''",
                                   "[[",          "\r\n",
                                   "\xc3",        "\xff",
                                   "\x1b",        "\x01",
                                   "-",           "0x",
                                   "1e999",       "99999999999999999999",
                                   "true",        "nan",
                                   "1979-05-27",  "{fd:",
                                   "{port}",      "\\u0000",
                                   "\\U0010FFFF", "ö",
                                   " ",           "\t",
                                   "unix:",       "::",
                                   "service",     "[service.web]\n",
                                   "\xef\xbb\xbf"};

std::string mutate(std::string text, std::mt19937_64& random) {
  const auto below = [&random](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
    const std::size_t at = below(text.size() + 1);
    const std::size_t length = below(12);
    switch (below(6)) {
      case 0: text.insert(at, kPieces[below(std::size(kPieces))]); break;
      case 1: text.erase(at, length); break;
      case 2: text.insert(at, text.substr(below(text.size() + 1), below(60))); break;
      case 3: text.insert(at, 1, static_cast<char>(below(256))); break;
      case 4: text.resize(at); break;
      default: text.replace(at, length, kPieces[below(std::size(kPieces))]); break;
    }
  }
  return text;
}

void check_places(const Faults& faults) {
  const Source source(faults.text);
  for (const Error& fault : faults.faults) {
    CHECK_FALSE(fault.message.empty());
    REQUIRE(fault.at.compare(0, 16, "supervisor.toml:") == 0);
    unsigned line = 0;
    unsigned column = 0;
    REQUIRE(std::sscanf(fault.at.c_str() + 16, "%u:%u", &line, &column) == 2);
    CHECK(line >= 1);
    CHECK(column >= 1);
    CHECK(column <= source.line(line).size() + 1);
  }
}

// What is printed is lines of printable text, whatever was in the file.
void check_harmless(const std::string& text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool ascii = (byte >= 0x20 && byte < 0x7f) || text[i] == '\n';
    const std::size_t length = ascii ? 1 : harmless_utf8(std::string_view(text).substr(i));
    i += length;
    if (length > 0) continue;
    FAIL_CHECK("byte " << int{byte} << " at " << i << " of:\n" << text);
    return;
  }
}

}  // namespace

TEST_CASE("20,000 damaged files never crash, and each of their faults has a place") {
  const char* given = std::getenv("RUNMAIN_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  // Printed now: a sanitizer ends the process without Catch's words.
  std::fprintf(stderr, "RUNMAIN_SEED=%llu\n", static_cast<unsigned long long>(seed));
  {
    const Outcome good = golden::parse(kGood);
    if (const auto* faults = std::get_if<Faults>(&good)) FAIL(explain(*faults));
  }
  std::mt19937_64 random(seed);
  int bad = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Outcome outcome = golden::parse(mutate(kGood, random));
    if (const auto* faults = std::get_if<Faults>(&outcome)) {
      ++bad;
      REQUIRE_FALSE(faults->faults.empty());
      check_places(*faults);
      check_harmless(explain(*faults));
    } else {
      check_harmless(explain_warnings(std::get<Loaded>(outcome)));
    }
  }
  CHECK(bad > kRounds / 4);
  CHECK(bad < kRounds);
}
