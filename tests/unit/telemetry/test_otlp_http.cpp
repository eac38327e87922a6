#include <iterator>

#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/otlp_http.hpp"

using namespace runmain::telemetry;
using State = HttpReader::State;

namespace {

// "POST /v1/traces 3 abc", one line a request, and "!400" where it failed. `cut`: bytes at a time; 0: all.
std::string read_all(std::string_view bytes, std::size_t cut, const HttpLimits& limits = {}) {
  HttpReader reader(limits);
  std::string seen;
  while (true) {
    switch (reader.state()) {
      case State::decide: reader.keep_body(); continue;
      case State::complete:
        seen += reader.request().method + " " + reader.request().path + " " +
                std::to_string(reader.body().size()) + " " + reader.body() + "\n";
        reader.next();
        continue;
      case State::failed: return seen + "!" + std::to_string(reader.fault().status);
      default: break;
    }
    if (bytes.empty()) return seen + (reader.is_within() ? "…" : "");
    const std::size_t n = reader.feed(cut == 0 ? bytes : bytes.substr(0, cut));
    REQUIRE(n > 0);
    bytes.remove_prefix(n);
  }
}

// However it is cut.
std::string read(std::string_view bytes, const HttpLimits& limits = {}) {
  const std::string whole = read_all(bytes, 0, limits);
  for (const std::size_t cut : {1U, 2U, 3U, 7U}) {
    CAPTURE(cut);
    CHECK(read_all(bytes, cut, limits) == whole);
  }
  return whole;
}

std::string post(const std::string& fields, const std::string& body = "") {
  return "POST /v1/traces HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n" + body;
}

HttpRequest head_of(const std::string& bytes) {
  HttpReader reader;
  reader.feed(bytes);
  CAPTURE(bytes);
  REQUIRE(reader.state() == State::decide);
  return reader.request();
}

}  // namespace

// Requirement 50.
TEST_CASE("a body is as long as its length or its chunks say") {
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  const struct {
    const char* why;
    std::string bytes;
    std::string seen;
  } rows[] = {
      {"no body", post(""), "POST /v1/traces 0 \n"},
      {"a length", post("Content-Length: 3\r\n", "abc"), "POST /v1/traces 3 abc\n"},
      {"zeros in front", post("content-LENGTH:\t 0003 \r\n", "abc"), "POST /v1/traces 3 abc\n"},
      {"length 0", post("Content-Length: 0\r\n"), "POST /v1/traces 0 \n"},
      {"not all of it", post("Content-Length: 3\r\n", "ab"), "…"},
      {"chunks", post(chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "POST /v1/traces 5 abcde\n"},
      {"Node's casing", post("transfer-encoding: Chunked\r\n", "00A\r\n0123456789\r\n0\r\n\r\n"),
       "POST /v1/traces 10 0123456789\n"},
      {"extensions", post(chunked, "3;a=\"b;c\";d\r\nabc\r\n0 ;x\r\n\r\n"), "POST /v1/traces 3 abc\n"},
      {"trailers", post(chunked, "1\r\na\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n"),
       "POST /v1/traces 1 a\n"},
      {"no chunk", post(chunked, "0\r\n\r\n"), "POST /v1/traces 0 \n"},
      {"binary", post("Content-Length: 4\r\n", std::string("\0\r\n\n", 4)),
       "POST /v1/traces 4 " + std::string("\0\r\n\n", 4) + "\n"},
      {"pipelined", post("Content-Length: 1\r\n", "a") + post("") + post(chunked, "1\r\nb\r\n0\r\n\r\n"),
       "POST /v1/traces 1 a\nPOST /v1/traces 0 \nPOST /v1/traces 1 b\n"},
      {"empty lines between", "\r\n\r\n" + post("") + "\r\n" + post(""),
       "POST /v1/traces 0 \nPOST /v1/traces 0 \n"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(read(row.bytes) == row.seen);
  }
}

TEST_CASE("what could be read in two ways is refused, and what follows it is not read") {
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  const struct {
    const char* why;
    std::string bytes;
    int status;
  } rows[] = {
      {"two lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), 400},
      {"twice the same length", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400},
      {"a list of lengths", post("Content-Length: 3, 3\r\n", "abc"), 400},
      {"a sign", post("Content-Length: +3\r\n", "abc"), 400},
      {"negative", post("Content-Length: -1\r\n"), 400},
      {"hexadecimal", post("Content-Length: 0x3\r\n"), 400},
      {"no number", post("Content-Length: \r\n"), 400},
      {"a blank in it", post("Content-Length: 1 2\r\n"), 400},
      {"beyond the limit", post("Content-Length: 16777217\r\n"), 413},
      {"beyond all numbers", post("Content-Length: 99999999999999999999999999\r\n"), 413},
      {"length and chunks", post("Content-Length: 3\r\n" + chunked, "3\r\nabc\r\n0\r\n\r\n"), 400},
      {"chunks and length", post(chunked + "Content-Length: 3\r\n", "3\r\nabc\r\n0\r\n\r\n"), 400},
      {"chunked twice", post(chunked + chunked), 400},
      {"another coding", post("Transfer-Encoding: gzip, chunked\r\n"), 501},
      {"not chunked", post("Transfer-Encoding: xchunked\r\n"), 501},
      {"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"a chunk without size", post(chunked, "\r\nabc\r\n"), 400},
      {"a chunk size with a blank", post(chunked, " 3\r\nabc\r\n"), 400},
      {"a chunk size with a sign", post(chunked, "-1\r\nabc\r\n"), 400},
      {"0x", post(chunked, "0x3\r\nabc\r\n"), 400},
      {"a chunk that is longer", post(chunked, "3\r\nabcd\r\n"), 400},
      {"a chunk beyond all numbers", post(chunked, "ffffffffffffffff1\r\n"), 413},
      {"a chunk beyond the limit", post(chunked, "1000001\r\n"), 413},
      {"a bare line feed in a chunk's line", post(chunked, "3\nabc"), 400},
      {"a bare line feed", "POST / HTTP/1.1\nHost: x\n\n", 400},
      {"a bare line feed behind a field", "POST / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400},
      {"a carriage return in a field", post("A: b\rc\r\n"), 400},
      {"a zero in a field", post(std::string("A: b\0c\r\n", 8)), 400},
      {"a folded field", post("A: b\r\n c\r\n"), 400},
      {"a blank before the colon", post("Content-Length : 3\r\n", "abc"), 400},
      {"no colon", post("nothing\r\n"), 400},
      {"no name", post(": x\r\n"), 400},
      {"no Host", "POST / HTTP/1.1\r\n\r\n", 400},
      {"two Hosts", post("Host: y\r\n"), 400},
      {"two tokens", post("Runmain-Token: a\r\nrunmain-token: b\r\n"), 400},
      {"two media types", post("Content-Type: a/b\r\nContent-Type: c/d\r\n"), 400},
      {"expects something else", post("Expect: miracles\r\n"), 417},
      {"no version", "POST /\r\n", 400},
      {"four words", "POST / / HTTP/1.1\r\n", 400},
      {"a version that is none", "POST / HTTP/1.x\r\n", 400},
      {"HTTP/3", "POST / HTTP/3.0\r\n", 505},
      {"gRPC", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"TLS", std::string("\x16\x03\x01\x02\x00", 5), 400},
      {"no method", " / HTTP/1.1\r\n", 400},
      {"a target of another kind", "POST v1/traces HTTP/1.1\r\n", 400},
      {"a target of another scheme", "POST ftp://x/ HTTP/1.1\r\n", 400},
      {"many empty lines", "\r\n\r\n\r\n\r\n\r\n\r\n", 400},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(read(row.bytes + post("")) == "!" + std::to_string(row.status));
  }
}

TEST_CASE("heads and bodies and chunks and trailers are read up to their limits") {
  HttpLimits limits;
  limits.head = 200;
  limits.fields = 5;
  limits.body = 10;
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  const std::string long_text(200, 'x');
  const auto status = [&](const std::string& bytes) { return read(bytes, limits); };
  CHECK(status("POST /" + long_text) == "!414");
  CHECK(status(post("A: " + long_text)) == "!431");
  CHECK(status(post("A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n")) == "POST /v1/traces 0 \n");
  CHECK(status(post("A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n")) == "!431");
  CHECK(status(post("Content-Length: 10\r\n", "0123456789")) == "POST /v1/traces 10 0123456789\n");
  CHECK(status(post("Content-Length: 11\r\n", "01234567890")) == "!413");
  CHECK(status(post(chunked, "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")) == "POST /v1/traces 10 0123456789\n");
  CHECK(status(post(chunked, "5\r\n01234\r\n6\r\n567890\r\n0\r\n\r\n")) == "!413");
  CHECK(status(post(chunked, "1;" + std::string(2000, 'x'))) == "!400");
  CHECK(status(post(chunked, "0\r\nA: " + long_text)) == "!431");
  // Which limit comes first depends on the bytes, not on how they are cut.
  std::string lines = "1;" + long_text + "\r\na\r\n";
  CHECK(status(post(chunked, lines + lines + "1;" + std::string(2000, 'x'))) == "!413");
  lines.clear();
  for (int i = 0; i < 8; ++i) lines += "1;" + long_text + "\r\na\r\n";
  CHECK(status(post(chunked, lines)) == "!413");
}

TEST_CASE("an empty line behind a request begins none") {
  HttpReader reader;
  CHECK_FALSE(reader.is_within());
  reader.feed("\r\n");
  CHECK_FALSE(reader.is_within());
  reader.feed("P");
  CHECK(reader.is_within());
}

TEST_CASE("a head says what it says") {
  const HttpRequest request =
      head_of(post("Content-Type: Application/JSON; charset=utf-8\r\ncontent-encoding: GZIP\r\n"
                   "Runmain-Token:  1.2.3.4.Ab \r\nUser-Agent: a/1 (b)\r\n"));
  CHECK(request.method == "POST");
  CHECK(request.path == "/v1/traces");
  CHECK(request.content_type == "application/json");
  CHECK(request.content_encoding == "gzip");
  CHECK(request.has_token);
  CHECK(request.token == "1.2.3.4.Ab");
  CHECK(request.user_agent == "a/1 (b)");
  CHECK(request.keeps_alive);
  CHECK_FALSE(request.awaits_continue);
  CHECK_FALSE(head_of(post("")).has_token);
  CHECK(head_of(post("Content-Type: a/b\r\nContent-Type: a/b\r\n")).content_type == "a/b");
}

TEST_CASE("a target is a path or an address of HTTP") {
  const struct {
    const char* target;
    const char* path;
  } rows[] = {{"/v1/logs", "/v1/logs"},
              {"/v1/logs?a=/b", "/v1/logs"},
              {"/v1/logs#a", "/v1/logs"},
              {"/", "/"},
              {"*", "*"},
              {"http://127.0.0.1:4318/v1/logs?x", "/v1/logs"},
              {"HTTP://user@[::1]:80/v1/logs", "/v1/logs"},
              {"https://host", "/"},
              {"http://host?q=/v1", "/"}};
  for (const auto& row : rows) {
    CHECK(head_of("POST " + std::string(row.target) + " HTTP/1.1\r\nHost: x\r\n\r\n").path == row.path);
  }
  CHECK(head_of("CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n").method == "CONNECT");
}

TEST_CASE("a connection is kept by HTTP/1.1 that does not say otherwise") {
  CHECK_FALSE(head_of(post("Connection: close\r\n")).keeps_alive);
  CHECK_FALSE(head_of(post("Connection: x , Close\r\n")).keeps_alive);
  CHECK(head_of(post("Connection: keep-alive, Upgrade, HTTP2-Settings\r\n")).keeps_alive);
  CHECK_FALSE(head_of("POST / HTTP/1.0\r\n\r\n").keeps_alive);
  CHECK(head_of("POST / HTTP/1.2\r\nHost: x\r\n\r\n").keeps_alive);
}

TEST_CASE("100-continue is awaited where a body is to come") {
  CHECK(head_of(post("Expect: 100-Continue\r\nContent-Length: 3\r\n")).awaits_continue);
  CHECK(head_of(post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n")).awaits_continue);
  CHECK_FALSE(head_of(post("Expect: 100-continue\r\n")).awaits_continue);
  CHECK_FALSE(
      head_of("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").awaits_continue);
}

TEST_CASE("a body that is skipped is counted and not held") {
  const std::string bytes = post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n") +
                            post("Content-Length: 2\r\n", "xy");
  for (const bool at_once : {true, false}) {
    HttpReader reader;
    std::size_t at = 0;
    at += reader.feed(bytes);
    REQUIRE(reader.state() == State::decide);
    if (at_once) {
      reader.skip_body();
    } else {
      reader.keep_body();
      at += reader.feed(std::string_view(bytes).substr(at, 5));
      CHECK(reader.body() == "ab");
      reader.skip_body();
    }
    at += reader.feed(std::string_view(bytes).substr(at));
    REQUIRE(reader.state() == State::complete);
    CHECK(reader.body().empty());
    CHECK(reader.feed("more") == 0);
    reader.next();
    at += reader.feed(std::string_view(bytes).substr(at));
    reader.keep_body();
    at += reader.feed(std::string_view(bytes).substr(at));
    CHECK(at == bytes.size());
    CHECK(reader.body() == "xy");
  }
}

TEST_CASE("damaged requests are read the same way however they are cut, within the limits") {
  test::Random random(20261129);
  HttpLimits limits;
  limits.head = 300;
  limits.fields = 8;
  limits.body = 64;
  const std::string whole = post("Content-Length: 3\r\nContent-Type: a/b\r\n", "abc") +
                            post("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
                                 "2;x\r\nab\r\n1\r\nc\r\n0\r\nT: u\r\n\r\n") +
                            "GET http://h/p?q HTTP/1.0\r\nConnection: close\r\n\r\n";
  const std::string_view parts[] = {"\r\n",    "\n",   "\r", " ",        "\t",
                                    ":",       ";",    "0",  "f",        "Host: x",
                                    {"\0", 1}, "\xff", ",",  "\r\n\r\n", "Content-Length: 1\r\n"};
  for (int i = 0; i < 8000; ++i) {
    std::string bytes = whole;
    for (std::uint64_t n = random.below(4) + 1; n > 0; --n) {
      const std::size_t at = random.below(bytes.size());
      bytes.replace(at, random.below(3), parts[random.below(std::size(parts))]);
    }
    const std::string seen = read_all(bytes, 0, limits);
    REQUIRE(read_all(bytes, 1, limits) == seen);
    REQUIRE(read_all(bytes, 1 + random.below(9), limits) == seen);
  }
}
