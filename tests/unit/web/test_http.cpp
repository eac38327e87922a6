#include "support/catch.hpp"
#include "web/http.hpp"
#include "web/stand_in.hpp"

using namespace runmain::web;

TEST_CASE("the first bytes of a connection tell whether it is a request") {
  struct Case {
    std::string bytes;
    HeadState expected;
  };
  const std::string long_field = "GET / HTTP/1.1\r\nX: " + std::string(kRequestHeadMax, 'x');
  const Case cases[] = {
      {"", HeadState::incomplete},
      {"G", HeadState::incomplete},
      {"GET", HeadState::incomplete},
      {"GET ", HeadState::incomplete},
      {"GET / HTTP/1.1\r\n", HeadState::incomplete},
      {"GET / HTTP/1.1\r\n\r\n", HeadState::complete},
      {"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", HeadState::complete},
      {"\x16\x03\x01", HeadState::not_http},
      {"get / HTTP/1.1\r\n\r\n", HeadState::not_http},
      {"SSH-2.0-x\r\n", HeadState::not_http},
      {"ABCDEFGHIJKLMNOPQRSTUVWXYZ", HeadState::not_http},
      {" ", HeadState::not_http},
      {std::string("G\0T / ", 6), HeadState::not_http},
      {long_field, HeadState::not_http},
  };
  for (const Case& c : cases) {
    CAPTURE(c.bytes.substr(0, 40));
    CHECK(look_at_head(c.bytes) == c.expected);
  }
}

TEST_CASE("a request is its method, its path and whether HTML is wanted") {
  const auto parsed = [](const std::string& text) { return parse_head(text + "\r\n\r\n"); };
  const auto get = parsed("GET /a/b?c=d HTTP/1.1\r\nHost: x\r\naCCept: text/html,*/*");
  REQUIRE(get);
  CHECK(get->method == "GET");
  CHECK(get->path == "/a/b");
  CHECK(get->wants_html);
  CHECK_FALSE(parsed("GET / HTTP/1.1\r\nAccept: application/json")->wants_html);
  CHECK_FALSE(parsed("GET / HTTP/1.1\r\nX-Accept: text/html")->wants_html);
  CHECK_FALSE(parsed("GET /").has_value());
  CHECK_FALSE(parsed("GET / FTP/1").has_value());
}

TEST_CASE("text in a page is harmless") {
  CHECK(escape_html("<b>&\"'") == "&lt;b&gt;&amp;&quot;&#39;");
  const std::string hostile = escape_html("a\x1b[2J\xff<script>");
  CHECK(hostile.find('<') == std::string::npos);
  CHECK(hostile.find('\x1b') == std::string::npos);
  CHECK(hostile.find('\xff') == std::string::npos);
}

TEST_CASE("trouble is a page for a browser, text for others, and nothing but a head for HEAD") {
  const Trouble trouble{"web", "exited with status 1", {"Traceback <most recent>", "ImportError"}};
  HttpRequest request;
  request.method = "GET";
  const std::string text = trouble_answer(trouble, request);
  CHECK(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
  CHECK(text.find("Content-Type: text/plain") != std::string::npos);
  CHECK(text.ends_with("web: exited with status 1\n\nTraceback <most recent>\nImportError\n"));
  request.wants_html = true;
  const std::string page = trouble_answer(trouble, request);
  CHECK(page.find("Content-Type: text/html; charset=utf-8\r\n") != std::string::npos);
  CHECK(page.find("Traceback &lt;most recent&gt;\nImportError") != std::string::npos);
  const std::size_t body = page.find("\r\n\r\n") + 4;
  CHECK(page.find("Content-Length: " + std::to_string(page.size() - body) + "\r\n") != std::string::npos);
  request.method = "HEAD";
  CHECK(trouble_answer(trouble, request) == page.substr(0, body));
}
