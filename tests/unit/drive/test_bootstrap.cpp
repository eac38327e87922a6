// Where runmain's shared files are, and how they get into PYTHONPATH and NODE_OPTIONS.
#include "drive/bootstrap.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "support/catch.hpp"

using namespace runmain::drive;

namespace {

namespace fs = std::filesystem;

// A folder that anyone can read, gone at the end.
class Folder {
 public:
  Folder() {
    char path[] = "/tmp/runmain_bootstrap_XXXXXX";
    REQUIRE(mkdtemp(path) != nullptr);
    path_ = path;
    fs::permissions(path_, fs::perms(0755));
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string file(const std::string& name, int mode = 0644) const {
    const fs::path path = *this / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "x";
    fs::permissions(path, fs::perms(mode));
    return path;
  }

 private:
  std::string path_;
};

}  // namespace

TEST_CASE("the shared folder is beside the executables, in a build as in an installation") {
  const Folder prefix;
  CHECK(share_of(prefix / "bin/runmain-supervisor").empty());
  fs::create_directories(prefix / "share/runmain");
  CHECK(share_of(prefix / "bin/runmain-supervisor") == prefix / "share/runmain");
  CHECK(share_of(prefix / "libexec/runmain/runmain-supervisor") == prefix / "share/runmain");
  CHECK(share_of(prefix / "a/b/c/runmain-supervisor").empty());
  CHECK(share_of("").empty());
  CHECK(share_of("x").empty());
}

TEST_CASE("only what is there is named") {
  const Folder prefix;
  const std::string share = prefix / "share/runmain";
  CHECK(bootstrap_in("").empty());
  CHECK(bootstrap_in(share).empty());
  const std::string node = prefix.file("share/runmain/node/register.js");
  CHECK(bootstrap_in(share).node == node);
  CHECK(bootstrap_in(share).python.empty());
  const std::string customize = prefix.file("share/runmain/python/bootstrap/sitecustomize.py");
  CHECK(bootstrap_in(share).python == share + "/python/bootstrap");
  CHECK(bootstrap_in(share).others_can_read);
  fs::permissions(customize, fs::perms(0640));
  CHECK_FALSE(bootstrap_in(share).others_can_read);
  fs::permissions(customize, fs::perms(0644));
  fs::permissions(prefix / "share", fs::perms(0750));
  CHECK_FALSE(bootstrap_in(share).others_can_read);
  prefix.file("a:b/python/bootstrap/sitecustomize.py");
  CHECK(bootstrap_in(prefix / "a:b").empty());  // it would be two folders in PYTHONPATH
}

TEST_CASE("what the user has set is kept: our folder is first, our file last") {
  struct Row {
    const char* value;
    const char* file;
    const char* with;
  };
  const Row rows[] = {
      {"", "/s/r.js", "--require /s/r.js"},
      {"--inspect", "/s/r.js", "--inspect --require /s/r.js"},
      {"-r \"a b\"", "/s/r.js", "-r \"a b\" --require /s/r.js"},
      {"-r \"a \\\" b\"", "/s/r.js", "-r \"a \\\" b\" --require /s/r.js"},
      {"-r \"open", "/s/r.js", "-r \"open"},
      {"--permission --allow-fs-read=/app/*", "/s/r.js", "--permission --allow-fs-read=/app/*"},
      {"", "/with blank/r.js", "--require \"/with blank/r.js\""},
      {"", "/a\"b\\c/r.js", "--require \"/a\\\"b\\\\c/r.js\""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.value);
    CHECK(with_node(row.value, row.file) == row.with);
  }
  CHECK(with_python("", "/s/b") == "/s/b");  // an empty part would be the current folder
  CHECK(with_python("/a::/b", "/s/b") == "/s/b:/a::/b");
}

TEST_CASE("a bootstrap is known wherever its runmain is") {
  CHECK(is_bootstrap_folder("/usr/share/runmain/python/bootstrap"));
  CHECK(is_bootstrap_folder("/usr/share/runmain/python/bootstrap//"));
  CHECK_FALSE(is_bootstrap_folder("/usr/share/runmain/python"));
  CHECK_FALSE(is_bootstrap_folder("/python/bootstrap"));
  CHECK_FALSE(is_bootstrap_folder(""));
  CHECK(is_bootstrap_file("/build/share/runmain/node/register.js"));
  CHECK_FALSE(is_bootstrap_file("./register.js"));
}
