// What is decided by time is decided by CLOCK_MONOTONIC, as the wall clock jumps. It may be read where times
// are printed, named, or compared with those of files, which are of no other clock: those places are listed.
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace runmain::rooms {
namespace {

namespace fs = std::filesystem;

struct Reader {
  const char* file;
  const char* why;
};

constexpr Reader kReaders[] = {
    {"child_runtime/thread.cpp",
     "how far a span's begin is from the monotonic clock, by which it is measured"},
    {"child_runtime/trace.hpp", "takes begin and end of a span from who tells them"},
    {"supervisor/app/doctor_living.cpp",
     "which of the observer's spans began while a request of ours was answered"},
    {"supervisor/app/head.cpp", "names the time of an entry of the journal"},
    {"supervisor/base/wall_time.cpp", "reads it for all the others"},
    {"supervisor/base/wall_time.hpp", "the same"},
    {"supervisor/cli/log_resume.cpp", "names the millisecond from which a log is shown on"},
    {"supervisor/control/server.cpp", "prints when something happened"},
    {"supervisor/control/verbs.cpp", "prints when something happened"},
    {"supervisor/drive/output_carry.cpp", "names the time of a line of output"},
    {"supervisor/drive/watch_gate.cpp",
     "whether a file's times could hide a further write: those come from this clock. A jump makes it read "
     "the content once more"},
    {"supervisor/drive/watch_git.cpp",
     "how old a lock of git is that was there before us, once; its time runs by the monotonic clock"},
    {"supervisor/app/own_telemetry.cpp", "names the times of spans, metrics and logs of our own"},
    {"supervisor/keeper/mailboxes.cpp", "names when a process was waited for, as its last spans' end"},
    {"supervisor/telemetry/exporter.cpp", "a Retry-After that is a date"},
    {"supervisor/telemetry/observer.cpp", "since when metrics of our own count"},
    {"supervisor/telemetry/observer_tell.cpp", "names the time of metrics of our own"},
    {"supervisor/telemetry/observed_mailbox.cpp", "names the end of a process that nobody has waited for"},
};

// Calls and clocks that jump with the wall clock, or that go on while the machine is suspended: a deadline by
// one of those would be over at once when it wakes.
const std::regex& wall_clock() {
  static const std::regex pattern(
      R"(\bsystem_clock\b|\bfile_clock\b|\bfile_time_type::clock\b|\butc_clock\b)"
      R"(|\bCLOCK_(REALTIME|TAI|BOOTTIME)|\bgettimeofday\b|\bftime\s*\(|\bwall_now_ns\s*\()"
      R"(|(^|[^\w.>])(std::|::)?time\s*\(|\buv_gettimeofday\b|\bhigh_resolution_clock\b)");
  return pattern;
}

// In code: not in what is printed, nor behind it in a comment.
bool reads_wall_clock(const std::string& line) {
  static const std::regex middle_of_comment(R"(^\s*/?\*)");
  if (std::regex_search(line, middle_of_comment)) return false;
  static const std::regex literal(R"("([^"\\]|\\.)*")");
  const std::string code = std::regex_replace(line, literal, "");
  return std::regex_search(code.substr(0, code.find("//")), wall_clock());
}

// By file, the lines that do.
std::map<std::string, std::vector<std::string>> readers() {
  std::map<std::string, std::vector<std::string>> found;
  const fs::path root(RUNMAIN_SOURCE_DIR);
  std::size_t files = 0;
  for (const char* top : {"supervisor", "child_runtime"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string kind = entry.path().extension().string();
      if (!entry.is_regular_file() || (kind != ".cpp" && kind != ".hpp" && kind != ".c" && kind != ".h"))
        continue;
      ++files;
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) {
        if (reads_wall_clock(line)) found[fs::relative(entry.path(), root).generic_string()].push_back(line);
      }
    }
  }
  REQUIRE(files > 50);
  return found;
}

TEST_CASE("the wall clock is read where times are told, and nowhere else") {
  auto found = readers();
  for (const Reader& reader : kReaders) {
    INFO(reader.file << " is listed and does not read it any more");
    CHECK(found.erase(reader.file) == 1);
  }
  for (const auto& [file, lines] : found) {
    INFO(file << " reads the wall clock: " << lines.front());
    CHECK(lines.empty());
  }
}

TEST_CASE("a read of the wall clock is seen as one") {
  for (const char* line : {"auto t = std::chrono::system_clock::now();", "clock_gettime(CLOCK_REALTIME, &t);",
                           "timerfd_create(CLOCK_REALTIME_ALARM, 0);", "clock_gettime(CLOCK_BOOTTIME, &t);",
                           "gettimeofday(&t, nullptr);", "const time_t now = time(nullptr);",
                           "x = std::time (nullptr);", "  time(&t);", "if (now > wall_now_ns() + 5) {",
                           "fs::file_time_type::clock::now()", "std::chrono::high_resolution_clock::now()"}) {
    INFO(line);
    CHECK(reads_wall_clock(line));
  }
  for (const char* line :
       {"clock_gettime(CLOCK_MONOTONIC, &t);", "std::chrono::steady_clock::now()", "uv_update_time(loop);",
        "cpu_time(child.pid)", "fact.time = now_;", "on_time(r);", "entry.time (1)", "// not by system_clock",
        " * the last time (it says)", "print(\"so many at a time (1)\");",
        "std::int64_t wall_of(Time now, std::int64_t wall_now_ns);"}) {
    INFO(line);
    CHECK_FALSE(reads_wall_clock(line));
  }
}

}  // namespace
}  // namespace runmain::rooms
