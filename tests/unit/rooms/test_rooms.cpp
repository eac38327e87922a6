// Reads the source tree: includes follow the table, every room has its page, files stay short.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "rules.hpp"
#include "support/catch.hpp"

namespace runmain::rooms {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFileLinesMax = 500;
constexpr std::size_t kReadmeLinesMax = 20;

const fs::path& root() {
  static const fs::path path(RUNMAIN_SOURCE_DIR);
  return path;
}

struct Include {
  std::string name;
  bool quoted = false;
};

struct Source {
  std::string path;  // from the top
  std::vector<Include> includes;
  std::size_t lines = 0;
};

// The include of a line, its name empty if the line is none.
Include include_of(const std::string& line) {
  std::size_t at = line.find_first_not_of(" \t");
  if (at == std::string::npos || line[at] != '#') return {};
  at = line.find_first_not_of(" \t", at + 1);
  if (at == std::string::npos || line.compare(at, 7, "include") != 0) return {};
  at = line.find_first_not_of(" \t", at + 7);
  if (at == std::string::npos || (line[at] != '"' && line[at] != '<')) return {};
  const bool quoted = line[at] == '"';
  const std::size_t end = line.find(quoted ? '"' : '>', at + 1);
  return {line.substr(at + 1, end - at - 1), quoted};
}

bool is_source(const fs::path& path) {
  static const std::set<std::string> kinds{".hpp", ".cpp", ".h", ".c"};
  return kinds.count(path.extension().string()) != 0;
}

Source read_source(const fs::path& path) {
  Source source;
  source.path = fs::relative(path, root()).generic_string();
  std::ifstream file(path);
  for (std::string line; std::getline(file, line); ++source.lines) {
    const Include include = include_of(line);
    if (!include.name.empty()) source.includes.push_back(include);
  }
  return source;
}

const std::vector<Source>& sources() {
  static const std::vector<Source> all = [] {
    std::vector<Source> found;
    for (const char* top : {"supervisor", "child_runtime"}) {
      for (const auto& entry : fs::recursive_directory_iterator(root() / top)) {
        if (entry.is_regular_file() && is_source(entry.path())) found.push_back(read_source(entry.path()));
      }
    }
    std::sort(found.begin(), found.end(), [](const Source& a, const Source& b) { return a.path < b.path; });
    return found;
  }();
  return all;
}

// True for "base/" and everything in it, and for a single header by its name.
bool allows(const std::vector<std::string>& patterns, const std::string& name) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return pattern.back() == '/' ? name.starts_with(pattern) : name == pattern;
  });
}

const Rule* rule_of(const std::string& path) {
  for (const Rule& rule : rules()) {
    if (path.starts_with(rule.room)) return &rule;
  }
  return nullptr;
}

// As an include would name the room: "core/" for supervisor/core/.
std::string include_prefix(const Rule& rule) {
  constexpr std::string_view kTop = "supervisor/";
  return rule.room.starts_with(kTop) ? rule.room.substr(kTop.size()) : rule.room;
}

// Empty if the include is allowed, else why not.
std::string fault_of(const Rule& rule, const Include& include) {
  if (!include.quoted) {
    if (!allows(guarded_libraries(), include.name) || allows(rule.others, include.name)) return {};
    return rule.room + " may not use <" + include.name + ">";
  }
  const bool own = include.name.starts_with(include_prefix(rule)) ||
                   (rule.room == "child_runtime/" && include.name.find('/') == std::string::npos);
  if (own || allows(rule.ours, include.name)) return {};
  return rule.room + " may not include \"" + include.name + "\"";
}

TEST_CASE("every include follows the table of the rooms") {
  REQUIRE(sources().size() > 50);
  for (const Source& source : sources()) {
    const Rule* rule = rule_of(source.path);
    INFO(source.path << " is in no room");
    REQUIRE(rule != nullptr);
    for (const Include& include : source.includes) {
      const std::string fault = fault_of(*rule, include);
      INFO(source.path << ": " << fault);
      CHECK(fault.empty());
    }
  }
}

TEST_CASE("a forbidden arrow is seen as one") {
  struct Case {
    const char* path;
    const char* line;
    bool allowed;
  };
  const Case cases[] = {
      {"supervisor/core/machine.cpp", "#include \"base/ids.hpp\"", true},
      {"supervisor/core/machine.cpp", "#include \"core/state.hpp\"", true},
      {"supervisor/core/machine.cpp", "#include \"os/linux/fd.hpp\"", false},
      {"supervisor/core/machine.cpp", "  #  include <uv.h>", false},
      {"supervisor/config/x.cpp", "#include \"core/machine.hpp\"", false},
      {"supervisor/config/x.cpp", "#include <toml++/toml.h>", true},
      {"supervisor/drive/x.cpp", "#include <toml++/toml.h>", false},
      {"supervisor/drive/x.cpp", "#include \"keeper/keeper.hpp\"", false},
      {"supervisor/drive/x.cpp", "#include \"keeper/board.hpp\"", true},
      {"supervisor/os/linux/x.cpp", "#include \"os/loop/loop.hpp\"", false},
      {"supervisor/os/loop/x.cpp", "#include <uv.h>", true},
      {"supervisor/keeper/x.cpp", "#include <spdlog/spdlog.h>", false},
      {"supervisor/keeper/x.cpp", "#include \"os/loop/loop.hpp\"", false},
      {"supervisor/control/x.cpp", "#include \"core/machine.hpp\"", false},
      {"supervisor/cli/x.cpp", "#include \"control/server.hpp\"", false},
      {"supervisor/base/x.hpp", "#include \"core/event.hpp\"", false},
      {"supervisor/telemetry/x.cpp", "#include \"child_runtime/mailbox.h\"", true},
      {"supervisor/telemetry/x.cpp", "#include \"child_runtime/channel.hpp\"", false},
      {"supervisor/telemetry/x.cpp", "#include \"core/effect.hpp\"", true},
      {"supervisor/telemetry/x.cpp", "#include \"core/machine.hpp\"", false},
      {"supervisor/telemetry/x.cpp", "#include <curl/curl.h>", true},
      {"supervisor/drive/x.cpp", "#include <curl/curl.h>", false},
      {"supervisor/base/x.hpp", "#include <vector>", true},
      {"child_runtime/x.c", "#include \"supervisor/base/ids.hpp\"", false},
      {"child_runtime/x.c", "#include \"protocol.h\"", true},
      {"child_runtime/x.c", "#include <nlohmann/json.hpp>", false},
  };
  for (const Case& c : cases) {
    const Rule* rule = rule_of(c.path);
    REQUIRE(rule != nullptr);
    INFO(c.path << ": " << c.line);
    CHECK(fault_of(*rule, include_of(c.line)).empty() == c.allowed);
  }
  CHECK(include_of("// #include \"x\"").name.empty());
  CHECK(include_of("int include;").name.empty());
}

TEST_CASE("includes are named from the root, never relative") {
  for (const Source& source : sources()) {
    for (const Include& include : source.includes) {
      INFO(source.path << " includes " << include.name);
      CHECK(include.name.find("..") == std::string::npos);
    }
  }
}

TEST_CASE("what is included in quotes is there") {
  for (const Source& source : sources()) {
    const fs::path folder = (root() / source.path).parent_path();
    for (const Include& include : source.includes) {
      if (!include.quoted) continue;
      INFO(source.path << " includes " << include.name);
      CHECK((fs::exists(root() / "supervisor" / include.name) || fs::exists(root() / include.name) ||
             fs::exists(folder / include.name)));
    }
  }
}

// headers_compile.cmake counts on it. Where a header of C stands beside, it makes a source for the other one.
TEST_CASE("a .cpp includes its own header first, which so compiles alone") {
  for (const Source& source : sources()) {
    const fs::path path = source.path;
    const fs::path header = fs::path(path).replace_extension(".hpp");
    const fs::path c_header = fs::path(path).replace_extension(".h");
    if (path.extension() != ".cpp" || !fs::exists(root() / header) || fs::exists(root() / c_header)) continue;
    INFO(source.path);
    REQUIRE_FALSE(source.includes.empty());
    const Include& first = source.includes.front();
    CHECK(first.quoted);
    CHECK(fs::path(first.name).filename() == header.filename());
  }
}

TEST_CASE("one .cpp alone includes spdlog") {
  std::set<std::string> users;
  for (const Source& source : sources()) {
    for (const Include& include : source.includes) {
      if (include.name.starts_with("spdlog/")) users.insert(source.path);
    }
  }
  REQUIRE(users.size() == 1);
  CHECK(users.begin()->ends_with(".cpp"));
}

TEST_CASE("headers have #pragma once, or a guard where C reads them") {
  for (const Source& source : sources()) {
    const bool c_header = source.path.ends_with(".h");
    if (!source.path.ends_with(".hpp") && !c_header) continue;
    std::ifstream file(root() / source.path);
    bool found = false;
    for (std::string line; !found && std::getline(file, line);)
      found = line == "#pragma once" || (c_header && line.starts_with("#ifndef "));
    INFO(source.path);
    CHECK(found);
  }
}

TEST_CASE("files have at most 500 lines") {
  for (const Source& source : sources()) {
    INFO(source.path << " has " << source.lines << " lines");
    CHECK(source.lines <= kFileLinesMax);
  }
}

TEST_CASE("every room has a README of at most 20 lines") {
  for (const Rule& rule : rules()) {
    const fs::path readme = root() / rule.room / "README.md";
    std::ifstream file(readme);
    std::size_t lines = 0;
    for (std::string line; std::getline(file, line);) ++lines;
    INFO(readme.string() << " has " << lines << " lines");
    CHECK(lines > 0);
    CHECK(lines <= kReadmeLinesMax);
  }
}

TEST_CASE("every folder of supervisor is a room") {
  for (const auto& entry : fs::recursive_directory_iterator(root() / "supervisor")) {
    if (!entry.is_directory() || entry.path().filename() == "os") continue;
    const std::string path = fs::relative(entry.path(), root()).generic_string() + "/";
    INFO(path);
    CHECK(rule_of(path) != nullptr);
  }
}

}  // namespace
}  // namespace runmain::rooms
