// Saves as editors do them, by the same system calls: one delivery each, twice in a row; and folders that
// change places.
#include <linux/fs.h>
#include <sys/syscall.h>

#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

void twice(const std::function<void(const std::string& path, const std::string& text)>& save) {
  Rig w;
  write_file(w.folder / "main.py", "0");
  write_file(w.folder / "sentinel", "0");
  w.watch_folder();
  for (const char* text : {"first", "second"}) {
    save(w.folder / "main.py", text);
    REQUIRE(w.until([&] { return !w.changes.empty(); }));
    REQUIRE(w.rest());
    CHECK(w.paths() == Names{"main.py"});
    CHECK(w.deliveries == 1);
  }
  CHECK(w.after_sentinel() == Names{});
}

void exchange(const std::string& a, const std::string& b) {
  if (syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) != 0)
    throw std::runtime_error("renameat2");
}

}  // namespace

TEST_CASE("a save by VS Code, in place with a truncation, is one change") {
  twice([](const std::string& path, const std::string& text) { write_file(path, text); });
}

TEST_CASE("a safe write by JetBrains is one change") {
  twice([](const std::string& path, const std::string& text) {
    write_file(path + "___jb_tmp___", text);
    fs::rename(path, path + "___jb_old___");
    fs::rename(path + "___jb_tmp___", path);
    fs::remove(path + "___jb_old___");
  });
}

TEST_CASE("a save by emacs, with its lock, autosave and backup, is one change") {
  twice([](const std::string& path, const std::string& text) {
    const std::string folder = fs::path(path).parent_path().string();
    fs::create_symlink("user@host.1:2", folder + "/.#main.py");
    write_file(folder + "/#main.py#", "autosaved");
    std::error_code none;
    fs::rename(path, path + "~", none);
    write_file(path, text);
    fs::remove(folder + "/#main.py#");
    fs::remove(folder + "/.#main.py");
  });
}

TEST_CASE("two folders that change places are told file by file, and both are watched on") {
  Rig w;
  for (const char* name : {"a", "b"}) fs::create_directories(w.folder / name);
  write_file(w.folder / "a/f.py", "of a");
  write_file(w.folder / "b/f.py", "of b");
  write_file(w.folder / "a/same.py", "same");
  write_file(w.folder / "b/same.py", "same");
  write_file(w.folder / "sentinel", "0");
  w.watch_folder();
  exchange(w.folder / "a", w.folder / "b");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.after_sentinel() == Names{"a/f.py", "b/f.py"});
  write_file(w.folder / "a/f.py", "edited");
  write_file(w.folder / "b/same.py", "edited");
  CHECK(w.after_sentinel() == Names{"a/f.py", "b/same.py"});
}

TEST_CASE("a watched folder whose link is turned to another release is told by content") {
  Rig w;
  for (const char* name : {"v1", "v2"}) fs::create_directories(w.folder / name);
  write_file(w.folder / "v1/f.py", "one");
  write_file(w.folder / "v2/f.py", "two");
  fs::create_directory_symlink("v1", w.folder / "current");
  w.watch({w.folder / "current"});
  fs::create_directory_symlink("v2", w.folder / "next");
  fs::rename(w.folder / "next", w.folder / "current");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  w.paths();
  write_file(w.folder / "v2/f.py", "edited");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths().count("v2/f.py") == 1);
}
