// gzip, and bombs.
#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/gzip.hpp"

using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

TEST_CASE("what was compressed comes back") {
  Random random(3);
  for (const std::size_t size : {0U, 1U, 1000U, 65535U, 65536U, 65537U, 3000000U}) {
    const std::string noise = random.bytes(size);
    const std::string alike(size, 'a');
    for (const std::string& bytes : {noise, alike}) {
      const auto small = gzip(bytes);
      REQUIRE(small.ok());
      const auto back = gunzip(*small, 3000000);
      REQUIRE(back.ok());
      CHECK(*back == bytes);
    }
  }
  CHECK(gzip(std::string(1000000, 'a'))->size() < 10000);
}

TEST_CASE("several members are one text") {
  CHECK(gunzip(*gzip("one ") + *gzip("two"), 100).value() == "one two");
}

// Requirement 50.
TEST_CASE("more than the limit, damage and a cut are refused") {
  const std::string bomb = *gzip(std::string(10000000, 'a'));
  const auto refused = gunzip(bomb, 1000000);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message == "more than 1000000 bytes come out of it");
  CHECK_FALSE(gunzip(*gzip("12345678901"), 10).ok());
  CHECK(gunzip(*gzip("1234567890"), 10).ok());
  const std::string whole = *gzip("some text that is compressed");
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK_FALSE(gunzip(whole.substr(0, size), 1000).ok());
  CHECK_FALSE(gunzip("not gzip", 1000).ok());
  CHECK_FALSE(gunzip(whole + "trailing", 1000).ok());
  std::string damaged = whole;
  damaged[whole.size() - 6] = static_cast<char>(damaged[whole.size() - 6] ^ 1);  // of the checksum
  CHECK_FALSE(gunzip(damaged, 1000).ok());
}
