#include "cli/log_resume.hpp"

#include "support/catch.hpp"

using namespace runmain::cli;
using runmain::control::Json;

namespace {

// In a far future, later than the start of the test. What is replayed from a log has no more than
// milliseconds.
Json line(const std::string& fraction, const std::string& text, const std::string& label = "web") {
  return Json{{"time", "2999-01-01T00:00:00." + fraction + "Z"}, {"label", label}, {"text", text}};
}

}  // namespace

TEST_CASE("lines of the last millisecond that were shown are not shown again") {
  LogResume resume;
  CHECK(resume.is_new(line("001", "a")));
  CHECK(resume.is_new(line("002", "b")));
  CHECK(resume.is_new(line("002999999", "c")));
  CHECK(resume.since() == "2999-01-01T00:00:00.002");
  CHECK_FALSE(resume.is_new(line("002", "b")));
  CHECK_FALSE(resume.is_new(line("002", "c")));
  CHECK(resume.is_new(line("002", "d")));
  CHECK(resume.is_new(line("003", "b")));
}

TEST_CASE("equal lines count, and so does who printed them") {
  LogResume resume;
  CHECK(resume.is_new(line("001", "a")));
  CHECK(resume.is_new(line("001", "a")));
  resume.since();
  CHECK_FALSE(resume.is_new(line("001", "a")));
  CHECK_FALSE(resume.is_new(line("001", "a")));
  CHECK(resume.is_new(line("001", "a")));
  CHECK(resume.is_new(line("001", "a", "web.1")));
}

TEST_CASE("a second break in the same millisecond knows the lines of both") {
  LogResume resume;
  CHECK(resume.is_new(line("001", "a")));
  resume.since();
  CHECK_FALSE(resume.is_new(line("001", "a")));
  CHECK(resume.is_new(line("001", "b")));
  resume.since();
  CHECK_FALSE(resume.is_new(line("001", "a")));
  CHECK_FALSE(resume.is_new(line("001", "b")));
  CHECK(resume.is_new(line("001", "a")));
}

TEST_CASE("a follower that has seen nothing goes on from its own start") {
  LogResume resume;
  const std::string since = resume.since();
  CHECK(since.size() == 23);
  CHECK(since > "2026-01-01");
  CHECK(resume.is_new(Json{{"skipped", 5}}));
}
