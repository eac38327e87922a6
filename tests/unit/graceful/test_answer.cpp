// One answer of HTTP/1.1 as it comes.
#include <catch2/catch.hpp>

#include "graceful/answer.hpp"

using runmain::graceful::AnswerReader;
using State = AnswerReader::State;

namespace {

// Fed in pieces of `size` bytes.
AnswerReader read(const std::string& text, std::size_t size) {
  AnswerReader reader;
  for (std::size_t at = 0; at < text.size(); at += size) reader.feed(std::string_view(text).substr(at, size));
  return reader;
}

}  // namespace

TEST_CASE("answers end where they say so, however they are cut into pieces", "[graceful]") {
  struct Row {
    const char* text;
    int status;
    std::size_t body;
    bool last;
  };
  const Row rows[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5, false},
      {"HTTP/1.1 200 OK\r\ncontent-length:5\r\nConnection: Close\r\n\r\nhello", 200, 5, true},
      {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 0, true},
      {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx", 200, 1, false},
      {"HTTP/1.1 204 No Content\r\n\r\n", 204, 0, false},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 404, 1, false},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n3\r\n\r\nx\r\n0\r\nTrailer: "
       "1\r\n\r\n",
       200, 8, false},
  };
  for (const Row& row : rows) {
    for (const std::size_t size : {1, 3, 1000}) {
      const AnswerReader reader = read(row.text, size);
      INFO(row.text << " by " << size);
      CHECK(reader.state() == State::done);
      CHECK(reader.status() == row.status);
      CHECK(reader.body_bytes() == row.body);
      CHECK(reader.is_last() == row.last);
    }
  }
}

TEST_CASE("a body without a length ends with the connection, one with a length does not", "[graceful]") {
  AnswerReader open = read("HTTP/1.1 200 OK\r\n\r\nhello", 4);
  CHECK(open.state() == State::body);
  CHECK(open.end() == State::done);
  CHECK(open.is_last());
  AnswerReader cut = read("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 4);
  CHECK(cut.end() == State::body);
  AnswerReader head = read("HTTP/1.1 200 OK\r\nContent-", 4);
  CHECK(head.end() == State::head);
}

TEST_CASE("what is no answer is bad, and a head is bounded", "[graceful]") {
  CHECK(read("SSH-2.0-OpenSSH\r\n", 4).state() == State::bad);
  CHECK(read("HTTP/1.1 xyz\r\n\r\n", 100).state() == State::bad);
  CHECK(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 100).state() == State::bad);
  CHECK(read("HTTP/1.1 200 OK\r\nX: " + std::string(runmain::graceful::kAnswerHeadMax, 'x'), 4096).state() ==
        State::bad);
}
