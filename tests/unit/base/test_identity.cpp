#include <set>
#include <string>

#include "base/identity.hpp"
#include "support/catch.hpp"

using namespace runmain;

namespace {

const std::string kSecret = "0123456789abcdef";

std::string counting(std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out.push_back(static_cast<char>(i));
  return out;
}

}  // namespace

TEST_CASE("SipHash-2-4 gives the numbers of the reference vectors") {
  // Aumasson and Bernstein: key 00 01 … 0f, message 00 01 … of each length; a129ca61… is the one of the
  // paper's text.
  const struct {
    std::size_t length;
    std::uint64_t hash;
  } rows[] = {{0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
              {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5}, {16, 0x3f2acc7f57c29bdb},
              {63, 0x958a324ceb064572}};
  for (const auto& row : rows) {
    CAPTURE(row.length);
    CHECK(siphash24(counting(16), counting(row.length)) == row.hash);
  }
}

TEST_CASE("a short key counts as filled with zeros, of a long one the first 16 bytes count") {
  CHECK(siphash24("abc", "x") == siphash24(std::string("abc") + std::string(13, '\0'), "x"));
  CHECK(siphash24(kSecret + "more", "x") == siphash24(kSecret, "x"));
  CHECK(siphash24("", "x") != siphash24(kSecret, "x"));
}

TEST_CASE("a nonce is 32 hexadecimal digits, the same for the same start and another for every other") {
  const ChildKey base{ServiceId{1}, 2, 3, 4};
  const std::string n = nonce(kSecret, base);
  CHECK(n.size() == 32);
  CHECK(n.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(n == nonce(kSecret, base));
  std::set<std::string> all = {n};
  for (const ChildKey& other :
       {ChildKey{ServiceId{2}, 2, 3, 4}, ChildKey{ServiceId{1}, 1, 3, 4}, ChildKey{ServiceId{1}, 2, 4, 4},
        ChildKey{ServiceId{1}, 2, 3, 5}, ChildKey{ServiceId{2}, 1, 3, 4}, ChildKey{ServiceId{1}, 2, 4, 3}}) {
    CHECK(all.insert(nonce(kSecret, other)).second);
  }
  CHECK(nonce("another keeper's", base) != n);
}

TEST_CASE("an instance id is a UUID of version 8 and tells nothing of the nonce") {
  std::set<std::string> all;
  for (std::uint32_t attempt = 0; attempt < 200; ++attempt) {
    const ChildKey key{ServiceId{7}, 0, 1, attempt};
    const std::string id = instance_id(kSecret, key);
    REQUIRE(id.size() == 36);
    for (const std::size_t at : {8U, 13U, 18U, 23U}) CHECK(id[at] == '-');
    CHECK(id[14] == '8');
    CHECK(std::string("89ab").find(id[19]) != std::string::npos);
    CHECK(id.find_first_not_of("0123456789abcdef-") == std::string::npos);
    CHECK(all.insert(id).second);
    CHECK(id.substr(0, 8) != nonce(kSecret, key).substr(0, 8));
  }
}

TEST_CASE("secrets are equal only if every byte and the length are") {
  CHECK(equal_secrets("abc", "abc"));
  CHECK(equal_secrets("", ""));
  CHECK_FALSE(equal_secrets("abc", "abd"));
  CHECK_FALSE(equal_secrets("abc", "Abc"));
  CHECK_FALSE(equal_secrets("abc", "ab"));
  CHECK_FALSE(equal_secrets("", "a"));
  CHECK_FALSE(equal_secrets(std::string("a\0b", 3), std::string("a\0c", 3)));
}

TEST_CASE("an OTLP token tells whose it is, and only who has the secret can make one") {
  const ChildKey key{ServiceId{7}, 2, 30, 4};
  const std::string token = otlp_token(kSecret, key);
  CHECK(token.substr(0, 9) == "7.2.30.4.");
  REQUIRE(owner_of_otlp_token(kSecret, token));
  CHECK(*owner_of_otlp_token(kSecret, token) == key);
  CHECK(token.find(nonce(kSecret, key)) == std::string::npos);
  CHECK_FALSE(owner_of_otlp_token("another keeper's", token));
  std::string other = token;
  other[0] = '8';
  for (const std::string& bad :
       {other, token + "0", token.substr(0, token.size() - 1), std::string("7.2.30.4"),
        std::string("7.2.30."), std::string("...."), std::string(), "0" + token,
        std::string("99999999999.2.30.4.") + token.substr(9)}) {
    CAPTURE(bad);
    CHECK_FALSE(owner_of_otlp_token(kSecret, bad));
  }
}

TEST_CASE("a traceparent is read back, and nothing else is taken for one") {
  const SpanIdentity identity = start_of(kSecret, {ServiceId{1}, 2, 3, 4});
  const std::string text = to_traceparent(identity);
  REQUIRE(parse_traceparent(text));
  CHECK(*parse_traceparent(text) == identity);
  for (const std::string& bad :
       {std::string(), text.substr(1), text + "0", "01" + text.substr(2),
        "00-" + std::string(32, '0') + text.substr(35), text.substr(0, 36) + std::string(16, '0') + "-01",
        text.substr(0, 10) + "x" + text.substr(11), text.substr(0, 10) + "+" + text.substr(11)}) {
    INFO(bad);
    CHECK_FALSE(parse_traceparent(bad));
  }
}

TEST_CASE("first starts of a generation share a trace, later ones have their own") {
  const auto trace = [](std::uint32_t slot, std::uint32_t generation, std::uint32_t attempt) {
    return coming_of(kSecret, {ServiceId{1}, slot, generation, attempt}).trace;
  };
  CHECK(trace(0, 3, 1) == trace(5, 3, 1));
  CHECK(trace(0, 3, 1) != trace(0, 4, 1));
  CHECK(trace(0, 3, 2) != trace(0, 3, 1));
  CHECK(trace(0, 3, 2) != trace(1, 3, 2));
  CHECK(start_of(kSecret, {ServiceId{1}, 0, 3, 1}).span != start_of(kSecret, {ServiceId{1}, 1, 3, 1}).span);
}
