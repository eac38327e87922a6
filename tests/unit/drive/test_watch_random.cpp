// Random work in a watched tree: at every rest all that differs was told, nothing was told that nobody
// touched, and the table knows the tree as it is.
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "os/linux/inotify.hpp"
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

// Path below the root to content, links as "-> target".
using Disk = std::map<std::string, std::string>;

struct World : Rig {
  explicit World(unsigned seed) : random(seed) {}

  Disk read_disk() const {
    Disk disk;
    for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
      const std::string path = entry.path().string().substr(folder.path().size() + 1);
      if (entry.is_symlink()) {
        disk[path] = "-> " + fs::read_symlink(entry.path()).string();
      } else if (entry.is_regular_file()) {
        std::ifstream in(entry.path());
        std::ostringstream text;
        text << in.rdbuf();
        disk[path] = text.str();
      }
    }
    return disk;
  }
  std::string pick() {
    std::string path = "n" + std::to_string(random() % 4);
    for (auto depth = random() % 3; depth > 0; --depth) path += "/n" + std::to_string(random() % 4);
    return path;
  }
  void touch_all_below(const std::string& path, const Disk& before) {
    touched.insert(path);
    for (const auto& [name, text] : before) {
      if (name.compare(0, path.size() + 1, path + "/") == 0) touched.insert(name);
    }
  }
  // One random operation; one that the tree does not allow does nothing.
  void step() {
    const std::string path = pick();
    const std::string full = folder / path;
    std::error_code no;
    const auto kind = random() % 10;
    const bool is_file = fs::is_regular_file(fs::symlink_status(full, no));
    const Disk now = kind >= 6 ? read_disk() : Disk{};
    if (kind <= 3) {  // write, sometimes the same bytes
      if (fs::exists(fs::symlink_status(full, no)) && !is_file) return;
      if (!fs::is_directory(fs::path(full).parent_path(), no)) return;
      write_file(full, "text " + std::to_string(random() % 5));
      touched.insert(path);
    } else if (kind == 4) {  // atomic save
      if (!is_file) return;
      write_file(full + "~", "saved " + std::to_string(random() % 5));
      fs::rename(full + "~", full);
      touched.insert(path);
    } else if (kind == 5) {
      fs::create_directories(full, no);
    } else if (kind == 6) {
      touch_all_below(path, now);
      fs::remove_all(full, no);
    } else if (kind <= 8) {  // rename a file or a folder with all that it has
      const std::string to = pick();
      fs::rename(full, folder / to, no);
      if (no) return;
      touch_all_below(path, now);
      touch_all_below(to, now);
      touch_all_below(to, read_disk());
    } else {
      if (fs::exists(fs::symlink_status(full, no))) return;
      fs::create_symlink("t" + std::to_string(random() % 2), full, no);
      touched.insert(path);
    }
  }
  void check_round(const Disk& before, const Names& names) {
    const Disk after = read_disk();
    const auto differs = [&](const std::string& path) {
      const auto was = before.find(path);
      const auto is = after.find(path);
      return (was == before.end()) != (is == after.end()) ||
             (was != before.end() && was->second != is->second);
    };
    for (const Disk* disk : {&before, &after}) {
      for (const auto& [path, text] : *disk) {
        if (!complete || !differs(path)) continue;
        INFO("missed " << path);
        CHECK(names.count(path) == 1);
      }
    }
    for (const auto& path : names) {
      INFO("told without a cause " << path);
      CHECK(touched.count(path) == 1);
    }
    CHECK(table.size() == after.size());
  }
  // Moves what was told into `names`. False from some round on which a delivery did not list all its paths.
  void collect(Names& names) {
    for (const auto& c : changes) complete = complete && c.count == c.paths.size();
    names.merge(paths());
  }

  std::mt19937 random;
  Names touched;
  bool complete = true;
};

void run_rounds(unsigned seed, int rounds, const std::function<bool(World&)>& settled) {
  INFO("seed " << seed);
  World w(seed);
  w.watch_folder();
  int incomplete = 0;
  for (int round = 0; round < rounds; ++round) {
    INFO("round " << round);
    const Disk before = w.read_disk();
    w.touched.clear();
    w.complete = true;
    Names names;
    for (auto steps = 1 + w.random() % 12; steps > 0; --steps) {
      w.step();
      if (w.random() % 2 == 0) w.loop.turn(0ms);
      w.collect(names);
    }
    REQUIRE(settled(w));
    w.collect(names);
    w.check_round(before, names);
    incomplete += w.complete ? 0 : 1;
  }
  CHECK(incomplete <= rounds / 2);
}

}  // namespace

TEST_CASE("random work in a tree is told completely and without invention") {
  run_rounds(Catch::rngSeed(), 150, [](World& w) { return w.rest(); });
}

TEST_CASE("random work is told completely when the kernel refuses every third watch") {
  int calls = 0;
  os::inotify_fault() = [&](os::InotifyCall call) {
    return call == os::InotifyCall::add && ++calls % 3 == 0 ? ENOSPC : 0;
  };
  run_rounds(Catch::rngSeed(), 4, [](World& w) {
    // Two polls later everything was seen by one that began after the last step.
    for (int i = 0; i < 2; ++i) {
      const Time end = os::Loop::now() + kPollInterval + kGrace;
      if (!w.until([&] { return os::Loop::now() > end; })) return false;
    }
    return w.rest();
  });
  os::inotify_fault() = nullptr;
}
