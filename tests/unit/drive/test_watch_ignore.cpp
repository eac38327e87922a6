// Ignore rules: gitignore(5) as a table, and the matcher against a slow one that goes back.
#include <chrono>
#include <random>

#include "drive/watch_roots.hpp"
#include "support/catch.hpp"

using namespace runmain::drive;

namespace {

// Tries everything, as the manual page words it; more than two stars are two.
bool slow(std::string_view p, std::string_view t, bool part_start = true) {
  if (p.empty()) return t.empty();
  const std::size_t run = std::min(p.find_first_not_of('*'), p.size());
  if (part_start && run >= 2 && run == p.size()) return !t.empty();
  if (part_start && run >= 2 && p[run] == '/') {
    const std::string_view rest = p.substr(run + 1);
    if (slow(rest, t, true)) return true;
    for (std::size_t i = 0; i < t.size(); ++i) {
      if (t[i] == '/' && slow(rest, t.substr(i + 1), true)) return true;
    }
    return false;
  }
  if (p[0] == '*') {
    std::size_t stars = p.find_first_not_of('*');
    if (stars == std::string_view::npos) stars = p.size();
    for (std::size_t i = 0; i <= t.size(); ++i) {
      if (slow(p.substr(stars), t.substr(i), false)) return true;
      if (i < t.size() && t[i] == '/') return false;
    }
    return false;
  }
  if (t.empty()) return false;
  if (p[0] == '?') return t[0] != '/' && slow(p.substr(1), t.substr(1), false);
  if (p.substr(0, 4) == "[ab]") return (t[0] == 'a' || t[0] == 'b') && slow(p.substr(4), t.substr(1), false);
  if (p.substr(0, 4) == "[!a]") return t[0] != 'a' && t[0] != '/' && slow(p.substr(4), t.substr(1), false);
  return p[0] == t[0] && slow(p.substr(1), t.substr(1), p[0] == '/');
}

struct Case {
  const char* rules;  // separated by a newline
  const char* path;   // with a slash at its end: a folder
  bool ignored;
};

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

bool ignored(const char* rules, std::string_view path) {
  const bool folder = !path.empty() && path.back() == '/';
  if (folder) path.remove_suffix(1);
  WatchedService service;
  service.paths = {"/nowhere"};
  service.ignore = lines_of(rules);
  RootSet roots;
  std::vector<std::string> problems;
  roots.set(service, problems);
  return roots.all().front().ruling(roots.files(), "/nowhere/" + std::string(path), folder).ignored;
}

}  // namespace

TEST_CASE("ignore rules say what gitignore(5) says") {
  const Case cases[] = {
      {"*.md", "README.md", true},
      {"*.md", "docs/deep/a.md", true},
      {"*.md", "a.mdx", false},
      {"*.md", ".md", true},
      {"/*.md", "a.md", true},
      {"/*.md", "docs/a.md", false},
      {"docs/*.md", "docs/a.md", true},
      {"docs/*.md", "x/docs/a.md", false},
      {"docs/*.md", "docs/x/a.md", false},
      {"build/", "build/", true},
      {"build/", "build", false},
      {"build/", "build/x/y.c", true},
      {"build/", "src/build/", true},
      {"/build/", "src/build/", false},
      {"build", "build", true},
      {"a/**/b", "a/b", true},
      {"a/**/b", "a/x/y/b", true},
      {"a/**/b", "ab", false},
      {"**/b", "b", true},
      {"**/b", "x/y/b", true},
      {"**/b", "x/yb", false},
      {"**/x/b", "a/x/b", true},
      {"a/**", "a/x/y", true},
      {"a/**", "a/", false},
      {"a/**", "b/a/x", false},
      {"**", "x", true},
      {"/**", "x/y", true},
      {"**/", "x/", true},
      {"**/", "x", false},
      {"a**b", "axxb", true},
      {"a**b", "ax/b", false},
      {"foo?.c", "foo1.c", true},
      {"foo?.c", "foo.c", false},
      {"a?b", "a/b", false},
      {"[a-c].x", "b.x", true},
      {"[a-c].x", "d.x", false},
      {"[!a-c].x", "d.x", true},
      {"[^a-c].x", "a.x", false},
      {"[]]", "]", true},
      {"[!]]", "]", false},
      {"[]-a]", "]", true},
      {"[a-]", "-", true},
      {"[\\]]", "]", true},
      {"[[:digit:]]", "7", true},
      {"[[:digit:]x]", "x", true},
      {"[[:digit:]]", "d", false},
      {"[[:nonsense:]]", "n", false},
      {"x/[!a]b", "x//b", false},
      {"[", "[", false},
      {"a[", "a[", false},
      {"\\[", "[", true},
      {"\\*", "*", true},
      {"\\*", "x", false},
      {"a\\", "a", false},
      {"# comment", "# comment", false},
      {"\\# x", "# x", true},
      {"!x", "x", false},
      {"\\!x", "!x", true},
      {"x   ", "x", true},
      {"x\\ ", "x ", true},
      {"", "x", false},
      {"/", "x", false},
      {"!", "x", false},
      {"*.md\n!keep.md", "keep.md", false},
      {"*.md\n!keep.md", "other.md", true},
      {"!keep.md\n*.md", "keep.md", true},
      {"docs/\n!docs/keep.md", "docs/keep.md", true},
      {"docs/*\n!docs/keep.md", "docs/keep.md", false},
      {"/*\n!/src/", "src/a.c", false},
      {"/*\n!/src/", "other/a.c", true},
      {"\xff*", "\xff\xfe", true},
      {"new\\\nline", "x", false},
      // built in
      {"", ".git/config", true},
      {"", "sub/node_modules/x/index.js", true},
      {"", "node_modules", false},
      {"", "a/.b.py.swp", true},
      {"", "4913", true},
      {"", "a~", true},
      {"", "#a#", true},
      {"", ".#a", true},
      {"", "x.log", true},
      {"", "x.pyc", true},
      {"", "dist/bundle.js", false},
      {"", "target/debug/x", false},
      {"!node_modules/", "node_modules/x.js", false},
      {"!*.log", "x.log", false},
  };
  for (const Case& c : cases) {
    INFO("rules " << c.rules << " path " << c.path);
    CHECK(ignored(c.rules, c.path) == c.ignored);
  }
}

TEST_CASE("the matcher agrees with one that tries everything") {
  const auto seed = Catch::rngSeed();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  const std::string_view parts[] = {"a",   "b",    "/",   "*",    "?",    "**",
                                    "**/", "/**/", "/**", "[ab]", "[!a]", "ab"};
  int matched = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string pattern;
    for (auto n = random() % 6; n > 0; --n) pattern += parts[random() % std::size(parts)];
    std::string text;
    for (auto n = random() % 9; n > 0; --n) text += "ab/"[random() % 3];
    const bool expected = slow(pattern, text);
    matched += expected ? 1 : 0;
    if (Glob(pattern).matches(text) != expected)
      FAIL("pattern " << pattern << " text " << text << " expected " << expected);
  }
  CHECK(matched > 10'000);
}

TEST_CASE("a pattern that is made to go back takes no longer than another") {
  std::string pattern;
  for (int i = 0; i < 60; ++i) pattern += "*a";
  pattern += "b";
  std::string deep;
  for (int i = 0; i < 40; ++i) deep += "**/a*a*/";
  deep += "b";
  const std::string text(4000, 'a');
  std::string path;
  for (int i = 0; i < 1300; ++i) path += "aa/";
  path += "c";
  const auto start = std::chrono::steady_clock::now();
  CHECK_FALSE(Glob(pattern).matches(text));
  CHECK_FALSE(Glob(deep).matches(path));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
}

TEST_CASE("rules beyond the limits are refused and counted") {
  using Lines = std::vector<std::string>;
  CHECK(IgnoreList(Lines{std::string(kIgnorePatternMax, 'a')}).refused() == 0);
  CHECK(IgnoreList(Lines{std::string(kIgnorePatternMax + 1, 'a')}).refused() == 1);
  const IgnoreList rules(Lines(kIgnoreRulesMax + 10, "x"));
  CHECK(rules.refused() == 10);
  CHECK(rules.match("x", false) != nullptr);
  std::string stars;
  for (std::size_t i = 0; i + 3 <= kIgnorePatternMax; i += 3) stars += "**/";
  CHECK(IgnoreList(Lines{stars + "x"}).refused() == 0);
  CHECK(IgnoreList(Lines{stars + "x"}).match("a/b/c/x", false) != nullptr);
}
