// What a run before has left: who is taken for ours, and who is not.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "keeper/leftovers.hpp"
#include "keeper/survivors.hpp"
#include "os/linux/process_tree.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::keeper;

namespace {

constexpr uid_t kNobody = 65534;

// A process in a session of its own that carries this tag and was executed with this environment.
class Marked {
 public:
  explicit Marked(std::uint64_t tag, std::string variable = "NOTHING=1", uid_t user = getuid()) {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    pid_ = fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      setsid();
      const rlimit limit{tag, tag};
      char* env[] = {variable.data(), nullptr};
      if (setrlimit(RLIMIT_RTTIME, &limit) != 0 || (user != getuid() && setuid(user) != 0)) _exit(1);
      execle("/bin/sleep", "sleep", "1000", nullptr, env);
      _exit(1);
    }
    close(ends[1]);
    char byte = 0;
    REQUIRE(read(ends[0], &byte, 1) == 0);  // executed
    close(ends[0]);
    REQUIRE(os::tag_of(pid_) == tag);
  }
  ~Marked() {
    if (!lives_) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Marked(const Marked&) = delete;
  Marked& operator=(const Marked&) = delete;
  pid_t pid() const { return pid_; }
  bool lives() {
    if (lives_) lives_ = waitpid(pid_, nullptr, WNOHANG) == 0;
    return lives_;
  }
  // Its wait status, once it has ended.
  int status() {
    int status = 0;
    REQUIRE(waitpid(pid_, &status, 0) == pid_);
    lives_ = false;
    return status;
  }

 private:
  pid_t pid_ = 0;
  bool lives_ = true;
};

class Folder {
 public:
  Folder() { REQUIRE(mkdtemp(path_.data()) != nullptr); }
  ~Folder() {
    for (const char* name : {"/adoption", "/adoption.unread", "/socket"}) unlink((path_ + name).c_str());
    rmdir(path_.c_str());
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  Place place() const { return {file("adoption"), "/site.toml", file("channel")}; }

 private:
  std::string path_ = "/tmp/runmain-leftovers-XXXXXX";
};

std::uint64_t tag_at(std::uint64_t n) {
  return os::kTagBase + (std::uint64_t{static_cast<unsigned>(getpid())} << 16U) + n;
}

AdoptionTable table_of(std::uint64_t tag) {
  AdoptionTable table;
  table.boot = os::boot_identity();
  table.config = "/site.toml";
  table.keeper = {999'999'999, 1};
  table.tags_begin = tag + 1;
  table.tags_end = tag;
  ChildOnRecord child;
  child.key = {ServiceId{1}, 0, 1, 1};
  child.service = "web";
  child.main = child.first = {999'999'998, 1};
  child.tag = tag;
  child.alive = child.keep = true;
  table.children.push_back(child);
  return table;
}

}  // namespace

TEST_CASE("an environment proves one process of our user, not who else has its tag") {
  const Folder folder;
  const std::string told = "RUNMAIN_CHANNEL=" + folder.place().channel;
  Marked ours(tag_at(1), told);
  Marked foreign(tag_at(1));
  Marked other_channel(tag_at(2), told + "2");
  const Survivors all = take_survivors(folder.place());
  CHECK_FALSE(ours.lives());
  CHECK(foreign.lives());
  CHECK(other_channel.lives());
  CHECK(all.words == std::vector<std::string>{"1 process tree of the run before was ended"});
  if (getuid() != 0) return;
  Marked of_nobody(tag_at(3), told, kNobody);
  (void)take_survivors(folder.place());
  CHECK(of_nobody.lives());
}

TEST_CASE("a tag of our own table proves a tree, and no environment is asked for then") {
  const Folder folder;
  REQUIRE(write_record(folder.file("adoption"), to_record(table_of(tag_at(100)))));
  Marked one(tag_at(100));
  Marked two(tag_at(100));
  Marked another(tag_at(101));
  Marked nested(tag_at(102), "RUNMAIN_CHANNEL=" + folder.place().channel);
  CHECK(take_survivors(folder.place()).died.size() == 1);
  CHECK_FALSE(one.lives());
  CHECK_FALSE(two.lives());
  CHECK(another.lives());
  CHECK(nested.lives());
}

TEST_CASE("the table of a runmain that lives is left alone, with all that it names") {
  const Folder folder;
  AdoptionTable table = table_of(tag_at(200));
  table.keeper = os::name_of_process(getpid());
  table.config = "/another.toml";
  REQUIRE(write_record(folder.file("adoption"), to_record(table)));
  Marked of_it(tag_at(200));
  const Survivors all = take_survivors(folder.place());
  CHECK(all.busy);
  CHECK(all.words.size() == 1);
  CHECK(of_it.lives());
  std::vector<std::string> words;
  CHECK(end_survivors(folder.place(), words) == 0);
  CHECK(of_it.lives());
  CHECK(read_record(folder.file("adoption")));
}

TEST_CASE("a table that is no use is removed, and its secret with it") {
  const Folder folder;
  AdoptionTable table = table_of(tag_at(300));
  table.config = "/another.toml";
  REQUIRE(write_record(folder.file("adoption"), to_record(table)));
  REQUIRE(write_record(folder.file("adoption.unread"), to_record(UnreadOutput{})));
  CHECK(take_survivors(folder.place()).words.size() == 1);
  CHECK_FALSE(read_record(folder.file("adoption")));
  CHECK_FALSE(read_record(folder.file("adoption.unread")));
}

TEST_CASE("unread output stays until a head has taken it, also if that keeper is killed, and of the dead") {
  const Folder folder;
  AdoptionTable table = table_of(tag_at(400));
  const UnreadOutput unread{table.keeper, {{table.children[0].key, false, "the last words\n"}}};
  REQUIRE(write_record(folder.file("adoption"), to_record(table)));
  REQUIRE(write_record(folder.file("adoption.unread"), to_record(unread)));
  const Survivors first = take_survivors(folder.place());
  REQUIRE(first.died.size() == 1);
  CHECK(first.died[0].unread.bytes == "the last words\n");
  // The next keeper has written its own table, and was killed before a head had begun.
  table.unread_of = first.unread_of;
  table.keeper = {999'999'997, 1};
  REQUIRE(write_record(folder.file("adoption"), to_record(table)));
  CHECK(take_survivors(folder.place()).died.at(0).unread.bytes == "the last words\n");
  table.unread_of = {};
  REQUIRE(write_record(folder.file("adoption"), to_record(table)));
  CHECK(take_survivors(folder.place()).died.at(0).unread.bytes.empty());
}

TEST_CASE("who serves is asked to end, and has the time for it") {
  const Folder folder;
  Marked worker(tag_at(500));
  AdoptionTable table = table_of(tag_at(500));
  table.children[0].main = table.children[0].first = os::name_of_process(worker.pid());
  Leftovers left = find_leftovers(&table, {}, {});
  REQUIRE(left.count() == 1);
  CHECK(left.trees.begin()->second.pid == worker.pid());
  std::vector<std::string> words;
  CHECK(end_leftovers(left, words) == 0);
  const int status = worker.status();
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM));
  CHECK(find_leftovers(&table, {}, {}).count() == 0);
}

TEST_CASE("a unix socket's file is removed only if it is the one that was recorded") {
  const Folder folder;
  const std::string path = folder.file("socket");
  const auto bind_there = [&] {
    const os::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    REQUIRE(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    struct stat st {};
    REQUIRE(lstat(path.c_str(), &st) == 0);
    return st;
  };
  const struct stat st = bind_there();
  AdoptionTable table;
  table.listeners.emplace_back();
  table.listeners[0].address.path = path;
  table.listeners[0].file_device = st.st_dev;
  table.listeners[0].file_inode = st.st_ino + 1;
  remove_socket_files(table);
  CHECK(access(path.c_str(), F_OK) == 0);
  table.listeners[0].file_inode = st.st_ino;
  remove_socket_files(table);
  CHECK(access(path.c_str(), F_OK) != 0);
}
