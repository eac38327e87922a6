// The ignore files of random trees, judged by us and by git itself: the same verdict by the same line.
#include <map>
#include <random>
#include <sstream>

#include "drive/watch_roots.hpp"
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

struct Names {
  static inline const std::vector<std::string> all{"a",    "b",  "c",  "ab",   "abc", "x.o",
                                                   "y.o",  "cb", "d ", "a b",  "#h",  "!n",
                                                   "e\\f", "é",  "-",  "[ab]", "*",   "B"};
};

class World {
 public:
  explicit World(std::uint32_t seed) : random_(seed) {
    fs::create_directories(home / "xdg/git");
    fs::create_directories(top());
    git("init -q .", "");
    make_folder(top(), 0);
    write_rules(top() + "/.git/info/exclude");
    write_rules(random_() % 2 == 0 ? home / "xdg/git/ignore" : home / "mine");
    if (fs::exists(home / "mine")) write_file(home / ".gitconfig", "[core]\n\texcludesFile = ~/mine\n");
  }

  std::string top() const { return home / "repo"; }
  const std::vector<std::string>& paths() const { return paths_; }  // below the top
  int lines() const { return lines_; }
  GitPlaces places() const { return {home.path(), home / "xdg"}; }

  // What git says of every path: "SOURCE:LINE", or nothing.
  std::map<std::string, std::string> git_says() {
    std::string input;
    for (const std::string& path : paths_) input += path + '\0';
    write_file(home / "input", input);
    git("check-ignore --no-index --stdin -z -v -n", " < ../input > ../output || test $? = 1");
    const std::string output = os::read_file(home / "output", 64U << 20U).value();
    std::vector<std::string> fields;
    for (std::size_t at = 0; at < output.size();) {
      const std::size_t end = output.find('\0', at);
      fields.push_back(output.substr(at, end - at));
      at = end + 1;
    }
    std::map<std::string, std::string> found;
    for (std::size_t i = 0; i + 3 < fields.size(); i += 4) {
      found[fields[i + 3]] =
          fields[i].empty() ? "" : absolute(fields[i]) + ":" + fields[i + 1] + ":" + fields[i + 2];
    }
    return found;
  }

 private:
  std::string absolute(const std::string& source) const {
    return source.starts_with("/") ? source : top() + "/" + source;
  }
  void git(const std::string& command, const std::string& rest) {
    run("cd '" + top() + "' && env -u GIT_DIR HOME='" + home.path() + "' XDG_CONFIG_HOME='" + (home / "xdg") +
        "' GIT_CONFIG_NOSYSTEM=1 git " + command + rest);
  }
  std::string name() { return Names::all[random_() % Names::all.size()]; }
  bool one_in(unsigned n) { return random_() % n == 0; }

  void make_folder(const std::string& folder, int depth) {
    std::set<std::string> mine;
    for (auto n = 5 + random_() % 5; n > 0; --n) mine.insert(name());
    for (const std::string& each : mine) {
      const std::string path = folder + "/" + each;
      paths_.push_back(path.substr(top().size() + 1));
      if (depth < 4 && !one_in(3)) {
        fs::create_directory(path);
        make_folder(path, depth + 1);
      } else if (one_in(10)) {
        fs::create_symlink("..", path);
      } else {
        write_file(path, "");
      }
    }
    if (depth == 0 || one_in(4)) write_rules(folder + "/.gitignore");
  }

  std::string part() {
    const char* const wild[] = {"*",    "**",          "?",      "*.o",  "a*",   "*b",
                                "[ab]", "[!a]",        "[a-c]*", "\\#h", "\\!n", "e\\\\f",
                                "***",  "[[:alpha:]]", "a?b",    "a**b", "\\*",  "d\\ "};
    return one_in(2) ? name() : wild[random_() % std::size(wild)];
  }
  std::string rule() {
    if (one_in(20)) return "# a comment";
    if (one_in(20)) return "";
    std::string rule = one_in(4) ? "!" : "";
    if (one_in(4)) rule += "/";
    for (auto n = 1 + (one_in(2) ? 0 : random_() % 3); n > 0; --n) rule += part() + (n > 1 ? "/" : "");
    if (one_in(3)) rule += "/";
    if (one_in(15)) rule += "  ";
    return rule;
  }
  void write_rules(const std::string& file) {
    std::string text = one_in(10) ? "\xef\xbb\xbf" : "";
    const char* end = one_in(5) ? "\r\n" : "\n";
    for (auto n = 1 + random_() % 8; n > 0; --n, ++lines_) text += rule() + end;
    if (one_in(5)) text.resize(text.size() - std::string_view(end).size());
    write_file(file, text);
  }

  std::mt19937 random_;
  TempFolder home;
  std::vector<std::string> paths_;
  int lines_ = 0;
};

std::string we_say(const RootSet& roots, const Root& root, const std::string& path) {
  std::error_code failed;
  const bool folder = fs::symlink_status(path, failed).type() == fs::file_type::directory;
  const Ruling ruling = root.ruling(roots.files(), path, folder);
  if (ruling.rule == nullptr) return "";
  return ruling.list->file() + ":" + std::to_string(ruling.rule->line) + ":" + ruling.rule->text;
}

std::string shown(const std::string& path) {
  std::ostringstream out;
  for (const char c : path) out << (c == '\0' ? '0' : c);
  return out.str();
}

// Compares the paths below `watched`. Returns how many a rule decides.
int compare(const World& world, const std::map<std::string, std::string>& git, const std::string& watched) {
  RootSet roots(world.places());
  WatchedService service;
  service.paths = {watched};
  std::vector<std::string> problems;
  roots.set(service, problems);
  roots.look();
  REQUIRE(problems.empty());
  for (const auto& entry : fs::recursive_directory_iterator(watched)) {
    if (entry.symlink_status().type() == fs::file_type::directory) roots.files().learn(entry.path().string());
  }
  int decided = 0;
  for (const std::string& path : world.paths()) {
    const std::string full = world.top() + "/" + path;
    if (!full.starts_with(watched + "/")) continue;
    const std::string said = we_say(roots, roots.all().front(), full);
    if (said != git.at(path))
      FAIL_CHECK("path " << shown(full) << "\n git " << git.at(path) << "\n we  " << said);
    decided += said.empty() ? 0 : 1;
  }
  return decided;
}

}  // namespace

TEST_CASE("ignore files say of a path what git says of it, by the same line") {
  if (std::system("git --version > /dev/null 2>&1") != 0) return;
  const auto first = Catch::rngSeed();
  int paths = 0;
  int lines = 0;
  int decided = 0;
  for (std::uint32_t seed = first; seed < first + 8; ++seed) {
    INFO("seed " << seed);
    World world(seed);
    const auto git = world.git_says();
    REQUIRE(git.size() == world.paths().size());
    paths += static_cast<int>(world.paths().size());
    lines += world.lines();
    decided += compare(world, git, world.top());
    // The rules above a watched path count as well, if they leave it there.
    int inner = 0;
    for (const std::string& path : world.paths()) {
      const std::string full = world.top() + "/" + path;
      const std::string& said = git.at(path);
      const bool ignored = !said.empty() && said[said.find(':', said.find(':') + 1) + 1] != '!';
      if (fs::is_symlink(full) || !fs::is_directory(full) || ignored || ++inner > 5) continue;
      compare(world, git, full);
    }
  }
  CHECK(paths > 2000);
  CHECK(lines > 500);
  CHECK(decided > 500);
}
