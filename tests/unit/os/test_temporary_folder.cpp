#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <fstream>

#include "os/linux/temporary_folder.hpp"

using namespace runmain::os;

TEST_CASE("a temporary folder is for this user alone, and gone with what is in it") {
  std::string path;
  {
    auto folder = TemporaryFolder::make("runmain-test");
    REQUIRE(folder);
    TemporaryFolder moved;
    moved = std::move(*folder);
    path = moved.path();
    struct stat info {};
    REQUIRE(stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777U) == 0700U);
    std::ofstream(path + "/file") << "x";
    auto below = TemporaryFolder::make("below", path);
    REQUIRE(below);
    CHECK(below->path().rfind(path + "/below-", 0) == 0);
  }
  CHECK(access(path.c_str(), F_OK) != 0);
}

TEST_CASE("where no temporary folder can be made the reason is told") {
  const auto folder = TemporaryFolder::make("runmain-test", "/nowhere/at/all");
  REQUIRE_FALSE(folder);
  CHECK(folder.error().code == ENOENT);
  // A place whose path is too long is not taken.
  setenv("XDG_RUNTIME_DIR", "/nowhere/at/all", 1);
  const auto other = TemporaryFolder::make("runmain-test", {}, 4);
  unsetenv("XDG_RUNTIME_DIR");
  REQUIRE(other);
  CHECK(other->path().rfind("/tmp/", 0) == 0);
}
