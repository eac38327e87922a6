// The table outlives the head: what was edited while no head lived is told by the next one.
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

struct Heads : Rig {
  Heads() {
    fs::create_directories(folder / "sub");
    for (const char* f : {"sentinel", "a.py", "b.py", "sub/c.py", "sub/d.py"}) write_file(folder / f, f);
    watch_folder();
    watch({folder / "sub"}, {}, kApi);
    rest();
  }
};

}  // namespace

TEST_CASE("edits made while no head lived are told to every service that watches them") {
  Heads w;
  const std::string saved = w.table.save();
  w.watcher.reset();
  write_file(w.folder / "a.py", "edited");
  write_file(w.folder / "b.py", "b.py");  // same bytes
  write_file(w.folder / "sub/c.py", "edited");
  write_file(w.folder / "sub/new.py", "new");
  fs::remove(w.folder / "sub/d.py");
  w.take_over(saved);
  w.watch_folder();
  w.watch({w.folder / "sub"}, {}, kApi);
  CHECK(w.changes.empty());  // told by the loop, not from within set()
  CHECK(w.after_sentinel() == Names{"a.py", "sub/c.py", "sub/new.py", "sub/d.py"});
  CHECK(w.paths(kApi) == Names{"sub/c.py", "sub/new.py", "sub/d.py"});
}

TEST_CASE("nothing is told after a takeover when nothing was edited") {
  Heads w;
  const std::string saved = w.table.save();
  w.take_over(saved);
  w.watch_folder();
  w.watch({w.folder / "sub"}, {}, kApi);
  CHECK(w.after_sentinel() == Names{});
  CHECK(w.paths(kApi) == Names{});
}

TEST_CASE("a head that dies before the table is saved tells the edit again, it is never lost") {
  Heads w;
  const std::string before = w.table.save();
  write_file(w.folder / "a.py", "edited");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.table.dirty());
  w.take_over(before);
  w.watch_folder();
  CHECK(w.after_sentinel() == Names{"a.py"});
}

TEST_CASE("a service that is not set again after a takeover is forgotten") {
  Heads w;
  const std::string saved = w.table.save();
  w.watcher.reset();
  write_file(w.folder / "sub/c.py", "edited");
  write_file(w.folder / "a.py", "edited");
  w.take_over(saved);
  w.watch({w.folder / "sub"}, {}, kApi);
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  REQUIRE(w.rest());
  CHECK(w.paths(kApi) == Names{"sub/c.py"});
  CHECK(w.paths(kWeb) == Names{});
  CHECK(w.watcher->counts().files == 2);
}

TEST_CASE("a root that was deleted while no head lived is told and waited for") {
  Heads w;
  const std::string saved = w.table.save();
  w.watcher.reset();
  fs::remove_all(w.folder / "sub");
  w.take_over(saved);
  w.watch({w.folder / "sub"}, {}, kApi);
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths(kApi) == Names{"sub/c.py", "sub/d.py"});
  fs::create_directory(w.folder / "sub");
  write_file(w.folder / "sub/c.py", "back");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths(kApi) == Names{"sub/c.py"});
}

TEST_CASE("the table is not to be saved while it knows more than was told") {
  Heads w;
  const std::string saved = w.table.save();
  CHECK_FALSE(w.table.dirty());
  w.watcher.reset();
  write_file(w.folder / "a.py", "edited");
  w.take_over(saved);
  w.watch_folder();
  w.watch({w.folder / "sub"}, {}, kApi);
  CHECK_FALSE(w.table.dirty());
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.table.dirty());
}

TEST_CASE("heads that die one after the other while files are edited lose no edit") {
  Heads w;
  const auto seed = Catch::rngSeed();
  INFO("seed " << seed);
  std::srand(seed);
  std::string saved = w.table.save();
  Names expected;
  Names told;
  for (int i = 0; i < 40; ++i) {
    const std::string name = "f" + std::to_string(std::rand() % 10);
    write_file(w.folder / name, "round " + std::to_string(i));
    expected.insert(name);
    if (std::rand() % 2 == 0) w.loop.turn(0ms);
    if (std::rand() % 3 != 0) continue;
    // What was told is handled; then perhaps the table is saved; then the head dies.
    const Names names = w.paths();
    told.insert(names.begin(), names.end());
    if (w.table.dirty() && std::rand() % 2 == 0) saved = w.table.save();
    w.take_over(saved);
    w.watch_folder();
    CHECK(w.rest());
    const Names more = w.paths();
    told.insert(more.begin(), more.end());
    for (const auto& e : expected) CHECK(told.count(e) == 1);
    expected.clear();
    told.clear();
    if (w.table.dirty()) saved = w.table.save();
  }
}
