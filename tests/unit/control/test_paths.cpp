// Folders, lock and sockets.
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>

#include "control/client.hpp"
#include "control/paths.hpp"
#include "control/suggest.hpp"
#include "fake_backend.hpp"
#include "support/catch.hpp"

namespace runmain::control {
namespace {

mode_t mode_of(const std::string& path) {
  struct stat st {};
  return lstat(path.c_str(), &st) == 0 ? st.st_mode & 07777U : 0;
}

TEST_CASE("the hash of a path is FNV-1a with 64 bits") {
  CHECK(hash_of("") == "cbf29ce484222325");
  CHECK(hash_of("a") == "af63dc4c8601ec8c");
  CHECK(hash_of("foobar") == "85944171f73967e8");
}

TEST_CASE("folders follow the environment and the overrides") {
  const Folder run;
  const std::string hash = hash_of("/srv/s.toml");
  struct Case {
    Environment env;
    std::string runtime_dir, state_dir, runtime, state;
  };
  const uid_t me = geteuid();
  const uid_t other = me + 1000;
  const Case cases[] = {
      {{run.path(), "/state", "/home/x", me},
       "",
       "",
       run.path() + "/runmain/" + hash,
       "/state/runmain/" + hash},
      {{"", "", "/root", 0}, "", "", "/run/runmain/" + hash, "/var/lib/runmain/" + hash},
      {{"", "", "/home/x", 1000},
       "",
       "",
       "/tmp/runmain-1000/" + hash,
       "/home/x/.local/state/runmain/" + hash},
      {{run.path(), "", "/home/x", other},
       "",
       "",
       "/tmp/runmain-" + std::to_string(other) + "/" + hash,
       "/home/x/.local/state/runmain/" + hash},
      {{"relative", "relative", "/home/x", 1000},
       "",
       "",
       "/tmp/runmain-1000/" + hash,
       "/home/x/.local/state/runmain/" + hash},
      {{run.path(), "/state", "/home/x", me}, "/a/b/", "/c", "/a/b", "/c"},
  };
  for (const Case& c : cases) {
    const Folders folders = folders_of("/srv/s.toml", c.runtime_dir, c.state_dir, c.env);
    CHECK(folders.runtime == c.runtime);
    CHECK(folders.state == c.state);
    CHECK(runtime_candidates(folders, c.env).front() == c.runtime);
  }
}

TEST_CASE("every name of one file means the same runmain") {
  const Folder folder;
  std::ofstream(folder.path() + "/s.toml") << "\n";
  REQUIRE(symlink("s.toml", (folder.path() + "/link.toml").c_str()) == 0);
  CHECK(*real_config(folder.path() + "/link.toml") == *real_config(folder.path() + "/./s.toml"));
  const auto missing = real_config(folder.path() + "/no.toml");
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().code == ENOENT);
}

TEST_CASE("folders are made with their modes, whatever the umask") {
  const Folder base;
  const Environment env{base.path(), base.path() + "/state", "", geteuid()};
  const mode_t old = umask(0);
  const Folders folders = folders_of("/srv/s.toml", "", "", env);
  const bool made = make_folders(folders, env).ok();
  umask(0777);
  const Folders others = folders_of("/srv/t.toml", "", "", env);
  const bool made_too = make_folders(others, env).ok();
  umask(old);
  REQUIRE(made);
  REQUIRE(made_too);
  CHECK(mode_of(folders.runtime) == 0711);
  CHECK(mode_of(folders.state) == 0700);
  CHECK(mode_of(others.runtime) == 0711);
  CHECK(make_folders(folders, env).ok());
}

TEST_CASE("a folder that others could have prepared is refused") {
  const Folder base;
  const Environment env{base.path(), base.path() + "/state", "", geteuid()};
  const Folders folders = folders_of("/srv/s.toml", "", "", env);
  SECTION("a symbolic link in its place") {
    std::filesystem::create_directories(base.path() + "/runmain");
    std::filesystem::create_directories(base.path() + "/elsewhere");
    REQUIRE(symlink((base.path() + "/elsewhere").c_str(), folders.runtime.c_str()) == 0);
    CHECK(make_folders(folders, env).error().code == ELOOP);
  }
  SECTION("a symbolic link above it") {
    std::filesystem::create_directories(base.path() + "/elsewhere");
    REQUIRE(symlink((base.path() + "/elsewhere").c_str(), (base.path() + "/runmain").c_str()) == 0);
    CHECK(make_folders(folders, env).error().code == ELOOP);
  }
  SECTION("a file in its place") {
    std::filesystem::create_directories(base.path() + "/runmain");
    std::ofstream(folders.runtime) << "x";
    CHECK(make_folders(folders, env).error().code == ENOTDIR);
  }
  SECTION("writable by others") {
    std::filesystem::create_directories(base.path() + "/runmain");
    chmod((base.path() + "/runmain").c_str(), 0777);
    CHECK(make_folders(folders, env).error().code == EPERM);
  }
  SECTION("of another user") {
    if (geteuid() != 0) return;
    std::filesystem::create_directories(folders.runtime);
    REQUIRE(chown(folders.runtime.c_str(), 65534, 65534) == 0);
    CHECK(make_folders(folders, env).error().code == EPERM);
  }
}

TEST_CASE("a folder that cannot be made is told, and what to do") {
  const Folder base;
  std::ofstream(base.path() + "/file") << "x";
  const Environment env{base.path() + "/file", "", "/root", geteuid()};
  const auto made = make_folders(folders_of("/srv/s.toml", base.path() + "/file/below", "", env), env);
  REQUIRE_FALSE(made.ok());
  CHECK(made.error().message.find("mkdir " + base.path() + "/file/below") != std::string::npos);
  CHECK(made.error().hint.find("--runtime-dir") != std::string::npos);
}

TEST_CASE("a folder that the user names keeps its mode") {
  const Folder base;
  chmod(base.path().c_str(), 0755);
  const Environment env{"", base.path() + "/state", "", geteuid()};
  const Folders folders = folders_of("/srv/s.toml", base.path(), "", env);
  REQUIRE(make_folders(folders, env).ok());
  CHECK(mode_of(base.path()) == 0755);
}

TEST_CASE("the lock has one holder, is told by pid, and ends with its last fd") {
  const Folder folder;
  const std::string path = folder.path() + "/lock";
  CHECK(lock_holder(path) == 0);
  {
    const auto lock = take_lock(path);
    REQUIRE(lock.ok());
    CHECK(lock_holder(path) == -1);
    REQUIRE(write_holder(lock->get(), 4242).ok());
    CHECK(lock_holder(path) == 4242);
    const auto second = take_lock(path);
    REQUIRE_FALSE(second.ok());
    CHECK(second.error().code == EWOULDBLOCK);
    CHECK(second.error().message == "already running (pid 4242)");
    const os::UniqueFd copy(dup(lock->get()));
    CHECK(lock_holder(path) == 4242);
  }
  CHECK(lock_holder(path) == 0);
  CHECK(take_lock(path).ok());
}

TEST_CASE("a lock file that is a symbolic link is not followed") {
  const Folder folder;
  REQUIRE(symlink("/dev/null", (folder.path() + "/lock").c_str()) == 0);
  CHECK(take_lock(folder.path() + "/lock").error().code == ELOOP);
}

TEST_CASE("a socket has exactly its mode, and takes the place of one that is there") {
  const Folder folder;
  const std::string path = folder.path() + "/control";
  const mode_t old = umask(0077);
  const auto first = listen_at(path, 0666);
  umask(old);
  REQUIRE(first.ok());
  CHECK(mode_of(path) == 0666);
  const auto second = listen_at(path, 0600);
  REQUIRE(second.ok());
  CHECK(mode_of(path) == 0600);
  const os::UniqueFd peer = connect_to(path);
  CHECK(peer.get() >= 0);
  const os::UniqueFd accepted(accept(second->get(), nullptr, nullptr));
  CHECK(accepted.get() >= 0);
}

TEST_CASE("a file in a socket's place is left alone, and a path that is too long is named") {
  const Folder folder;
  std::ofstream(folder.path() + "/control") << "precious";
  CHECK(listen_at(folder.path() + "/control", 0600).error().code == EEXIST);
  CHECK(std::filesystem::file_size(folder.path() + "/control") == 8);
  const auto long_path = listen_at(folder.path() + "/" + std::string(120, 'x'), 0600);
  CHECK(long_path.error().code == ENAMETOOLONG);
  CHECK_FALSE(long_path.error().hint.empty());
}

TEST_CASE("near names are suggested, far ones are not") {
  const std::vector<std::string> names{"status", "start", "stop", "restart", "web", "db"};
  struct Case {
    const char* word;
    const char* expected;
  };
  const Case cases[] = {{"stauts", "status"}, {"statsu", "status"}, {"strat", "start"}, {"wbe", "web"},
                        {"we", "web"},        {"stp", "stop"},      {"xyz", ""},        {"", ""},
                        {"reload", ""}};
  for (const Case& c : cases) CHECK(nearest(c.word, names) == c.expected);
  CHECK(nearest(std::string(10'000, 'a'), names).empty());
  CHECK(did_you_mean("xyz", {"web", "db"}) == "known: web, db");
  CHECK(did_you_mean("xyz", {}).empty());
}

}  // namespace
}  // namespace runmain::control
