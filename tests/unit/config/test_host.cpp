// What depends on this machine: files, folders, users. Each test has its own folder and removes it.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/config.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;
namespace fs = std::filesystem;

namespace {

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "runmain-config-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path(const std::string& name = "supervisor.toml") const { return path_ + "/" + name; }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }
  // The faults of supervisor.toml with this text, without the folder's own name.
  std::string faults(const std::string& text) const {
    write("supervisor.toml", text);
    const Outcome outcome = load(path());
    const auto* faults = std::get_if<Faults>(&outcome);
    std::string out;
    if (faults == nullptr) return out;
    for (const Error& fault : faults->faults) out += fault.text() + "\n";
    for (std::size_t at = out.find(path_); at != std::string::npos; at = out.find(path_))
      out.replace(at, path_.size(), "~");
    return out;
  }

 private:
  std::string path_;
};

std::string only_fault(const std::string& path) {
  const Outcome outcome = load(path);
  const auto* faults = std::get_if<Faults>(&outcome);
  REQUIRE(faults != nullptr);
  REQUIRE(faults->faults.size() == 1);
  return explain(*faults);
}

}  // namespace

TEST_CASE("a file that is missing, a folder, a FIFO or not readable is told without a line") {
  const Folder folder;
  const std::string path = folder.path();
  const std::string hint = " (write one, or name another with -c FILE)\n";
  CHECK(only_fault(path) == path + ": error: no such file" + hint);
  CHECK(only_fault(path + "/x") == path + "/x: error: no such file" + hint);
  fs::create_directory(path);
  CHECK(only_fault(path) == path + ": error: is a folder\n");
  fs::remove(path);
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  CHECK(only_fault(path) == path + ": error: is not a regular file\n");
  fs::remove(path);
  if (geteuid() != 0) {
    folder.write("supervisor.toml", "");
    REQUIRE(chmod(path.c_str(), 0) == 0);
    CHECK(only_fault(path) == path + ": error: Permission denied\n");
  }
}

TEST_CASE("a file larger than 10 MiB is not read to its end") {
  const Folder folder;
  folder.write("supervisor.toml", "");
  fs::resize_file(folder.path(), (std::uintmax_t{1} << 40U));
  CHECK(only_fault(folder.path()) == folder.path() + ": error: larger than 10485760 bytes\n");
}

TEST_CASE("every folder and file that the configuration names must be there") {
  const Folder folder;
  CHECK(folder.faults("[service.x]\ncommand = \"x\"\ncwd = \"nowhere\"\nwatch = [\"a\"]\n") ==
        "~/supervisor.toml:3:7: cwd: \"~/nowhere\": no such folder (create it, or correct the path)\n");
  CHECK(folder.faults("[service.x]\ncommand = \"x\"\ncwd = \"supervisor.toml\"\n") ==
        "~/supervisor.toml:3:7: cwd: \"~/supervisor.toml\" is not a folder\n");
  CHECK(folder.faults("[service.x]\ncommand = \"x\"\nwatch = [\"a\", \"supervisor.toml\"]\n") ==
        "~/supervisor.toml:3:10: watch: \"~/a\": no such file or folder (create it, or correct the path)\n");
  CHECK(folder.faults("[service.x]\ncommand = \"x\"\nlog = { file = \"logs/x.log\" }\n") ==
        "~/supervisor.toml:3:16: log.file: \"~/logs\": no such folder (create it, or correct the path)\n");
  CHECK(folder.faults("[service.x]\ncommand = \"x\"\nlisten = \"unix:run/x.sock\"\n") ==
        "~/supervisor.toml:3:10: listen: \"~/run\": no such folder (create it, or correct the path)\n");
  CHECK(
      folder.faults("[service.x]\ncommand = \"x\"\nenv_file = [\".env\", \".\"]\n") ==
      "~/supervisor.toml:3:13: env_file: \"~/.env\": no such file (create it, or correct the path)\n"
      "~/supervisor.toml:3:21: env_file: \"~\": is a folder (name a readable text file of at most 1 MiB)\n");
  folder.write("big.env", "");
  fs::resize_file(folder.path("big.env"), (1U << 20U) + 1);
  CHECK(
      folder.faults("[service.x]\ncommand = \"x\"\nenv_file = \"big.env\"\n") ==
      "~/supervisor.toml:3:12: env_file: \"~/big.env\": larger than 1048576 bytes (name a readable text file "
      "of at most 1 MiB)\n");
}

TEST_CASE("with all of them there the file is good, and its paths are absolute") {
  const Folder folder;
  fs::create_directories(folder.path("app/src"));
  fs::create_directory(folder.path("logs"));
  folder.write(".env", "A=1\n");
  folder.write(
      "supervisor.toml",
      "[service.x]\ncommand = \"x\"\ncwd = \"app\"\nwatch = [\"src\"]\nlog = { file = \"logs/x.log\" }\n"
      "env_file = \".env\"\nlisten = \"unix:logs/x.sock\"\n");
  const Outcome outcome = load(folder.path());
  const auto* loaded = std::get_if<Loaded>(&outcome);
  REQUIRE(loaded != nullptr);
  const core::ServiceSpec& spec = loaded->desired.services.at(0);
  CHECK(spec.cwd == folder.path("app"));
  CHECK(spec.watch->paths == std::vector<std::string>{folder.path("app/src")});
  CHECK(spec.log.file == folder.path("logs/x.log"));
  CHECK(spec.env_files == std::vector<std::string>{folder.path(".env")});
  CHECK(spec.listen.at(0).path == folder.path("logs/x.sock"));
  CHECK(loaded->desired.file == folder.path());
}

TEST_CASE("a path of the file that is relative starts at the current folder") {
  const auto before = fs::current_path();
  const Folder folder;
  folder.write("supervisor.toml", "[service.x]\ncommand = \"x\"\n");
  fs::current_path(folder.path("."));
  const Outcome outcome = load("./supervisor.toml");
  fs::current_path(before);
  const auto* loaded = std::get_if<Loaded>(&outcome);
  REQUIRE(loaded != nullptr);
  CHECK(fs::equivalent(loaded->desired.services.at(0).cwd, folder.path(".")));
  CHECK(fs::path(loaded->desired.file).is_absolute());
  CHECK(loaded->desired.services[0].at == "./supervisor.toml:1:10");
}

TEST_CASE("faults of an env file are told with their own places") {
  const Folder folder;
  folder.write(".env", "A=1\nno assignment\nB='secret\n");
  CHECK(folder.faults("[service.x]\ncommand = \"x\"\nenv_file = \".env\"\n") ==
        "~/.env:2:4: no \"=\" after the name no (write NAME=value, or # for a comment)\n"
        "~/.env:3:3: this ' is never closed (add ')\n");
}

TEST_CASE("a user and a group must be known or numbers") {
  const Folder folder;
  CHECK(folder.faults("[service.x]\ncommand = \"x\"\nuser = \"root\"\ngroup = \"root\"\n").empty());
  CHECK(folder.faults("[service.x]\ncommand = \"x\"\nuser = \"54321\"\ngroup = 54321\n").empty());
  CHECK(folder.faults("[service.x]\ncommand = \"x\"\nuser = \"no-such-user\"\ngroup = \"no-such-group\"\n") ==
        "~/supervisor.toml:3:8: user: there is no user \"no-such-user\" (see getent passwd, or write its "
        "number)\n"
        "~/supervisor.toml:4:9: group: there is no group \"no-such-group\" (see getent group, or write its "
        "number)\n");
}
