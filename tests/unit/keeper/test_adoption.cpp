// The adoption table: what is written is read, and nothing else is.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/identity.hpp"
#include "base/named_archive.hpp"
#include "keeper/adoption.hpp"
#include "keeper/poller.hpp"
#include "keeper/streams.hpp"
#include "keeper/survivors.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::keeper;

namespace {

AdoptionTable example() {
  AdoptionTable table;
  table.boot = os::boot_identity();
  table.config = "/etc/site/supervisor.toml";
  table.keeper = {999'999'999, 1};
  table.head = {999'999'998, 2};
  table.secret = std::string(16, 's');
  table.tags_begin = 5000;
  table.tags_end = 4000;
  ChildOnRecord child;
  child.key = {ServiceId{1}, 2, 3, 4};
  child.service = "web";
  child.main = {999'999'997, 77};
  child.first = child.main;
  child.tag = 4500;
  child.alive = child.keep = true;
  child.listeners = {"web|:8000"};
  child.notify = "runmain/1/2/3";
  table.children.push_back(child);
  ListenerOnRecord listener;
  listener.id = "web|:8000#1";
  listener.address.port = 8000;
  listener.group = "web|:8000";
  listener.slot = 1;
  table.listeners.push_back(listener);
  table.groups.push_back({"web|:8000", {0, 1}, true});
  return table;
}

class Folder {
 public:
  Folder() { REQUIRE(mkdtemp(path_.data()) != nullptr); }
  ~Folder() {
    for (const char* name : {"/adoption", "/adoption.new", "/adoption.unread", "/adoption.refused"})
      unlink((path_ + name).c_str());
    rmdir(path_.c_str());
  }
  std::string table() const { return path_ + "/adoption"; }

 private:
  std::string path_ = "/tmp/runmain-adoption-XXXXXX";
};

// With a checksum that is right.
std::string of_version(std::string bytes, std::uint32_t version) {
  const auto put = [&](std::size_t at, std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i)
      bytes[at + static_cast<std::size_t>(i)] = static_cast<char>(value >> (8U * static_cast<unsigned>(i)));
  };
  put(8, version, 4);
  std::string summed = bytes.substr(8, 12) + bytes.substr(28);
  put(20, siphash24("runmain-adoption", summed), 8);
  return bytes;
}

}  // namespace

TEST_CASE("a table is read as it was written") {
  const std::string bytes = to_record(example());
  const auto read = parse_adoption(bytes);
  REQUIRE(read);
  CHECK(to_record(*read) == bytes);
  CHECK(read->children.at(0).key == ChildKey{ServiceId{1}, 2, 3, 4});
  CHECK(read->children.at(0).main == os::ProcessName{999'999'997, 77});
  CHECK(read->groups.at(0).order == std::vector<std::uint32_t>{0, 1});
}

TEST_CASE("a table that was cut anywhere, or that goes on, is refused") {
  const std::string bytes = to_record(example());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    INFO(size);
    CHECK_FALSE(parse_adoption(bytes.substr(0, size)));
  }
  CHECK_FALSE(parse_adoption(bytes + '\0'));
  CHECK(parse_adoption("").error().message == "it is empty");
}

TEST_CASE("a table with one bit another is refused") {
  const std::string bytes = to_record(example());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(static_cast<unsigned char>(flipped[bit / 8]) ^ (1U << (bit % 8)));
    if (parse_adoption(flipped).ok()) FAIL("bit " << bit);
  }
}

TEST_CASE("a whole table of another version is refused for that") {
  const std::string bytes = to_record(example());
  CHECK(parse_adoption(of_version(bytes, state_version())));
  CHECK(parse_adoption(of_version(bytes, state_version() + 1)));  // the next one may be taken back
  const auto future = parse_adoption(of_version(bytes, state_version() + 2));
  REQUIRE_FALSE(future);
  CHECK(future.error().message == "it is of another version of runmain");
}

TEST_CASE("of a file's two sides the newest whole table counts, whatever became of the other one") {
  const Folder folder;
  AdoptionFile file(folder.table());
  CHECK_FALSE(file.written());
  AdoptionTable table = example();
  const auto write = [&](const std::string& config) {
    table.config = config;
    REQUIRE(file.write(table));
    const auto read = read_adoption(folder.table());
    REQUIRE(read);
    CHECK(read->config == config);
  };
  write(std::string(5000, 'a'));
  CHECK(file.written());
  write("b");
  struct stat first {};
  REQUIRE(stat(folder.table().c_str(), &first) == 0);
  write("shorter than what stood on this side");
  write("c");
  struct stat last {};
  REQUIRE(stat(folder.table().c_str(), &last) == 0);
  CHECK(first.st_ino == last.st_ino);
  // As if killed while the fifth was written, over the third.
  const int fd = open(folder.table().c_str(), O_WRONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  REQUIRE(pwrite(fd, "torn", 4, 100) == 4);
  CHECK(read_adoption(folder.table())->config == "c");
  REQUIRE(pwrite(fd, "torn", 4, 2 * kAdoptionMax + 100) == 4);
  close(fd);
  CHECK_FALSE(read_adoption(folder.table()));
  // The next ones mend that.
  write("d");
  write("e");
}

TEST_CASE("a table's file that somebody has removed or moved is made anew, and nobody else's is written to") {
  const Folder folder;
  AdoptionFile file(folder.table());
  AdoptionTable table = example();
  REQUIRE(file.write(table));
  REQUIRE(unlink(folder.table().c_str()) == 0);
  REQUIRE(file.write(table));
  CHECK(read_adoption(folder.table()));
  REQUIRE(rename(folder.table().c_str(), (folder.table() + ".refused").c_str()) == 0);
  REQUIRE(file.write(table));
  CHECK(read_adoption(folder.table()));
  REQUIRE(unlink(folder.table().c_str()) == 0);
  REQUIRE(symlink("/dev/null", folder.table().c_str()) == 0);
  REQUIRE(file.write(table));
  struct stat st {};
  REQUIRE(lstat(folder.table().c_str(), &st) == 0);
  CHECK(S_ISREG(st.st_mode));
  CHECK((st.st_mode & 0777U) == 0600U);
  file.remove();
  CHECK_FALSE(file.written());
  CHECK(read_adoption(folder.table()).error().code == ENOENT);
  table.config = std::string(kAdoptionMax, 'x');
  CHECK_FALSE(file.write(table));
  CHECK(read_adoption(folder.table()).error().code == ENOENT);
}

TEST_CASE("unread output is no table, and the other way round") {
  UnreadOutput unread{{7, 8}, {{ChildKey{ServiceId{1}, 2, 3, 4}, true, "half a li"}}};
  const std::string bytes = to_record(unread);
  REQUIRE(parse_unread(bytes));
  CHECK(parse_unread(bytes)->streams.at(0).bytes == "half a li");
  CHECK_FALSE(parse_adoption(bytes));
  CHECK_FALSE(parse_unread(to_record(example())));
}

TEST_CASE("a table is used for its own boot, configuration and dead keeper only") {
  const Folder folder;
  const Place place{folder.table(), example().config, ""};
  CHECK(read_table(place).error().code == ENOENT);
  const auto read = [&](const AdoptionTable& table) {
    REQUIRE(write_record(folder.table(), to_record(table)));
    return read_table(place);
  };
  CHECK(read(example()));
  AdoptionTable other = example();
  other.boot = "yesterday";
  CHECK(read(other).error().message == "it is from before the machine was started");
  other = example();
  other.config = "/else";
  CHECK(read(other).error().message == "it is of another configuration, /else");
  other = example();
  other.keeper = os::name_of_process(getpid());
  CHECK(read(other).error().code == EBUSY);
  other.keeper.started += 1;  // its number was given away again
  CHECK(read(other));
  // No link is followed.
  unlink(folder.table().c_str());
  REQUIRE(symlink("/etc/passwd", folder.table().c_str()) == 0);
  CHECK_FALSE(read_table(place));
}

TEST_CASE("who is not proved to be the process of the table has ended") {
  const Folder folder;
  AdoptionTable table = example();
  table.children[0].main = os::name_of_process(getpid());  // lives, but carries no such tag
  REQUIRE(write_record(folder.table(), to_record(table)));
  const Survivors all = take_survivors({folder.table(), table.config, ""});
  CHECK(all.living.empty());
  CHECK(all.died.size() == 1);
}

TEST_CASE("a pipe that lasts gives no SIGPIPE when nobody reads it, and its reader still sees the end") {
  auto poller = Poller::make();
  REQUIRE(poller);
  auto streams = Streams::make(*poller);
  REQUIRE(streams);
  const ChildKey key{ServiceId{1}, 1, 1, 1};
  auto opened = (*streams)->open(key, nullptr, true);
  REQUIRE(opened);
  const std::uint64_t inode = (*streams)->pipe_inode(opened->serial);
  REQUIRE(inode != 0);
  os::UniqueFd child = std::move(opened->write_end);
  streams->reset();                              // the keeper is gone
  REQUIRE(write(child.get(), "one\n", 4) == 4);  // SIGPIPE would end us here
  // The next one opens it by the child's fd, and goes on behind what was taken out before.
  auto again = Streams::make(*poller);
  REQUIRE(again);
  auto read_end = os::open_pipe_of(getpid(), inode);
  REQUIRE(read_end);
  const auto serial = (*again)->adopt(key, std::move(*read_end), Unread{key, false, "zero\n"});
  REQUIRE(serial);
  (*again)->started(*serial, getpid());
  (*again)->drain(*serial);  // no head is at work: what nobody has read stays where no death can lose it
  char bytes[16];
  REQUIRE(pread((*again)->rings_fd(), bytes, sizeof bytes, 0) == sizeof bytes);
  CHECK(std::string(bytes, 9) == std::string("zero\n\0\0\0\0", 9));
  (*again)->hold(false);
  REQUIRE(pread((*again)->rings_fd(), bytes, sizeof bytes, 0) == sizeof bytes);
  CHECK(std::string(bytes, 9) == "zero\none\n");
  child.reset();
  (*again)->drain(*serial);
  CHECK((*again)->pipe_inode(*serial) == 0);  // ended
}
