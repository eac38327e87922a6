// The inotify wrapper and the open folder, against the real kernel.
#include "os/linux/inotify.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "os/linux/folder.hpp"
#include "support/catch.hpp"

using namespace runmain;

namespace {

struct Scratch {
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "runmain-inotify-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path = name;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

struct Got {
  int wd;
  std::uint32_t mask;
  std::string name;
};

std::vector<Got> read_waiting(os::Inotify& inotify) {
  std::vector<Got> got;
  pollfd fd{inotify.fd(), POLLIN, 0};
  if (::poll(&fd, 1, 5000) != 1) return got;
  for (;;) {
    const auto count = inotify.read([&](const os::InotifyEvent& e) {
      got.push_back({e.wd, e.mask, std::string(e.name)});
    });
    if (!count || count.value() == 0) return got;
  }
}

void write_text(const std::string& path, std::string_view text) {
  const os::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  REQUIRE(fd);
  REQUIRE(os::write_all(fd.get(), text).ok());
}

}  // namespace

TEST_CASE("events come in order with their watch, mask and name") {
  const Scratch dir;
  auto inotify = os::Inotify::make();
  REQUIRE(inotify.ok());
  const auto wd = inotify->add(dir.path, IN_CREATE | IN_CLOSE_WRITE | IN_DELETE | IN_ONLYDIR);
  REQUIRE(wd.ok());
  write_text(dir.path + "/a", "x");
  REQUIRE(unlink((dir.path + "/a").c_str()) == 0);
  const auto got = read_waiting(*inotify);
  REQUIRE(got.size() == 3);
  CHECK(got[0].mask == IN_CREATE);
  CHECK(got[1].mask == IN_CLOSE_WRITE);
  CHECK(got[2].mask == IN_DELETE);
  for (const Got& g : got) {
    CHECK(g.wd == wd.value());
    CHECK(g.name == "a");
  }
}

TEST_CASE("a name of 255 bytes comes whole, and the fd is close-on-exec and does not block") {
  const Scratch dir;
  auto inotify = os::Inotify::make();
  REQUIRE(inotify.ok());
  CHECK((fcntl(inotify->fd(), F_GETFD) & FD_CLOEXEC) != 0);
  const auto none = inotify->read([](const os::InotifyEvent&) {});
  REQUIRE(none.ok());
  CHECK(none.value() == 0);
  REQUIRE(inotify->add(dir.path, IN_CREATE).ok());
  const std::string name(255, '\xfe');
  write_text(dir.path + "/" + name, "");
  const auto got = read_waiting(*inotify);
  REQUIRE(got.size() == 1);
  CHECK(got[0].name == name);
}

TEST_CASE("the same folder gives the same watch, a removed one ends with IN_IGNORED") {
  const Scratch dir;
  auto inotify = os::Inotify::make();
  REQUIRE(inotify.ok());
  const auto first = inotify->add(dir.path, IN_CREATE);
  const auto second = inotify->add(dir.path, IN_CREATE);
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first.value() == second.value());
  inotify->remove(first.value());
  inotify->remove(first.value());  // once more is no failure
  const auto got = read_waiting(*inotify);
  REQUIRE(got.size() == 1);
  CHECK((got[0].mask & IN_IGNORED) != 0);
}

TEST_CASE("a queue that overflows says so with no watch") {
  const Scratch dir;
  auto inotify = os::Inotify::make();
  REQUIRE(inotify.ok());
  REQUIRE(inotify->add(dir.path, IN_ATTRIB).ok());
  write_text(dir.path + "/a", "");
  write_text(dir.path + "/b", "");
  const int limit = std::stoi(os::inotify_limit("max_queued_events"));
  for (int i = 0; i < limit + 10; ++i)
    REQUIRE(chmod((dir.path + (i % 2 == 0 ? "/a" : "/b")).c_str(), 0600) == 0);
  const auto got = read_waiting(*inotify);
  REQUIRE(!got.empty());
  CHECK(got.back().mask == IN_Q_OVERFLOW);
  CHECK(got.back().wd == -1);
  CHECK(got.size() == static_cast<std::size_t>(limit) + 1);
}

TEST_CASE("failures carry the errno, injected ones too") {
  auto inotify = os::Inotify::make();
  REQUIRE(inotify.ok());
  const auto missing = inotify->add("/nonexistent/folder", IN_CREATE);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().code == ENOENT);
  int calls = 0;
  os::inotify_fault() = [&](os::InotifyCall call) {
    return call == os::InotifyCall::add && ++calls == 2 ? ENOSPC : 0;
  };
  CHECK(inotify->add("/", IN_CREATE).ok());
  const auto full = inotify->add("/", IN_CREATE);
  os::inotify_fault() = nullptr;
  REQUIRE_FALSE(full.ok());
  CHECK(full.error().code == ENOSPC);
  CHECK(os::inotify_limit("no such limit") == "unknown");
}

TEST_CASE("a folder lists every kind of entry and looks at each by name, links not followed") {
  const Scratch dir;
  write_text(dir.path + "/file", "text");
  REQUIRE(mkdir((dir.path + "/sub").c_str(), 0755) == 0);
  REQUIRE(symlink("/nowhere", (dir.path + "/link").c_str()) == 0);
  REQUIRE(mkfifo((dir.path + "/fifo").c_str(), 0600) == 0);
  auto folder = os::Folder::open(dir.path);
  REQUIRE(folder.ok());
  std::set<std::pair<std::string, os::EntryType>> found;
  REQUIRE(folder
              ->list([&](const std::string& name, os::EntryType type) {
                found.emplace(name, type);
                return true;
              })
              .ok());
  CHECK(found == std::set<std::pair<std::string, os::EntryType>>{{"file", os::EntryType::file},
                                                                 {"sub", os::EntryType::folder},
                                                                 {"link", os::EntryType::link},
                                                                 {"fifo", os::EntryType::other}});
  CHECK(folder->stat("file")->size == 4);
  CHECK(folder->stat("link")->is_link());
  CHECK(*folder->read_link("link") == "/nowhere");
  CHECK(folder->open_file("link").error().code == ELOOP);
  CHECK(folder->open_file("fifo").ok());  // and it did not wait for a writer
  CHECK(folder->stat("none").error().code == ENOENT);
  CHECK(os::Folder::open(dir.path + "/link").error().code != 0);
  CHECK(os::Folder::open(dir.path + "/file").error().code == ENOTDIR);
  int listed = 0;
  REQUIRE(folder->list([&](const std::string&, os::EntryType) { return ++listed < 2; }).ok());
  CHECK(listed == 2);
}

TEST_CASE("a folder whose path is longer than PATH_MAX is opened and watched") {
  const Scratch dir;
  std::string path = dir.path;
  os::UniqueFd at(::open(dir.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  while (path.size() < 3 * PATH_MAX) {
    const std::string name(200, 'd');
    REQUIRE(mkdirat(at.get(), name.c_str(), 0755) == 0);
    at.reset(openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(at);
    path += "/" + name;
  }
  auto folder = os::Folder::open(path);
  REQUIRE(folder.ok());
  struct stat expected {};
  REQUIRE(fstat(at.get(), &expected) == 0);
  CHECK(folder->stat(".")->inode == expected.st_ino);
  auto inotify = os::Inotify::make();
  REQUIRE(inotify.ok());
  REQUIRE(inotify->add(path, IN_CREATE | IN_ONLYDIR | IN_DONT_FOLLOW).ok());
  const os::UniqueFd made(openat(at.get(), "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  REQUIRE(made);
  CHECK(read_waiting(*inotify).size() == 1);
  CHECK(os::Folder::open(path + "x").error().code == ENOENT);
}

TEST_CASE("a file is known to be open for writing as long as it is") {
  const Scratch dir;
  const std::string path = dir.path + "/f";
  write_text(path, "x");
  const os::UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  CHECK_FALSE(os::is_open_for_writing(reader.get()));
  os::UniqueFd writer(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  CHECK(os::is_open_for_writing(reader.get()));
  writer.reset();
  CHECK_FALSE(os::is_open_for_writing(reader.get()));
  writer.reset(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));  // no lease is left behind
  CHECK(writer);
}
