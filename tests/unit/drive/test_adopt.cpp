#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "drive/adopt.hpp"
#include "drive/launch.hpp"
#include "os/linux/fd.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

namespace {

const AdoptLibrary kLibrary{"/opt/runmain/librunmain_adopt.so", true};

os::ProgramFile dynamic_program() {
  os::ProgramFile p;
  p.path = "/srv/server";
  p.known = p.dynamic = true;
  return p;
}

std::string why(const os::ProgramFile& program, Adoptee who = {}) {
  who.program = program;
  return why_not_adopted(who, kLibrary).value_or("");
}

// A folder of programs, each a few bytes that nobody executes.
class Programs {
 public:
  Programs() {
    char path[] = "/tmp/runmain-test-adopt-XXXXXX";
    REQUIRE(mkdtemp(path) != nullptr);
    folder_ = path;
  }
  ~Programs() {
    for (const std::string& file : files_) unlink(file.c_str());
    rmdir(folder_.c_str());
  }
  Programs(const Programs&) = delete;
  Programs& operator=(const Programs&) = delete;
  const std::string& folder() const { return folder_; }
  std::string add(const std::string& name, const std::string& bytes, mode_t mode = 0755) {
    std::string path = folder_ + "/" + name;
    os::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    REQUIRE(os::write_all(fd.get(), bytes));
    REQUIRE(fchmod(fd.get(), mode) == 0);
    files_.push_back(path);
    return path;
  }

 private:
  std::string folder_;
  std::vector<std::string> files_;
};

// A program of this machine's with these sections, none of which has anything in it.
std::string elf(bool dynamic, const std::string& section = ".text", unsigned char bits = ELFCLASS64) {
  Elf64_Ehdr own{};
  os::UniqueFd self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  REQUIRE(pread(self.get(), &own, sizeof own, 0) == sizeof own);
  Elf64_Ehdr file{};
  std::memcpy(file.e_ident, ELFMAG, SELFMAG);
  file.e_ident[EI_CLASS] = bits;
  file.e_machine = own.e_machine;
  file.e_phoff = sizeof file;
  file.e_phnum = 1;
  file.e_shoff = sizeof file + sizeof(Elf64_Phdr);
  file.e_shnum = 2;
  file.e_shstrndx = 0;
  Elf64_Phdr part{};
  part.p_type = dynamic ? PT_INTERP : PT_LOAD;
  const std::string names = std::string("\0", 1) + section + std::string("\0", 1);
  Elf64_Shdr table{};
  table.sh_offset = file.e_shoff + 2 * sizeof table;
  table.sh_size = names.size();
  Elf64_Shdr named{};
  named.sh_name = 1;
  named.sh_offset = table.sh_offset + names.size();
  named.sh_size = 16;
  std::string out(reinterpret_cast<const char*>(&file), sizeof file);
  out.append(reinterpret_cast<const char*>(&part), sizeof part);
  out.append(reinterpret_cast<const char*>(&table), sizeof table);
  out.append(reinterpret_cast<const char*>(&named), sizeof named);
  return out + names + (section == ".dynstr" ? std::string("\0libasan.so.8\0\0", 15) : std::string(16, '\0'));
}

}  // namespace

TEST_CASE("who cannot be adopted is told why, and what to do instead") {
  const std::string instead = ": use listen with {fd}, or port";
  os::ProgramFile p = dynamic_program();
  CHECK(why(p).empty());
  p.dynamic = false;
  CHECK(why(p) == "cannot adopt: /srv/server is a static program (it makes its own system calls)" + instead);
  p.go = true;
  CHECK(why(p) == "cannot adopt: /srv/server is a Go program (it makes its own system calls)" + instead);
  p = dynamic_program();
  p.wide = p.fits = false;
  CHECK(why(p) ==
        "cannot adopt: /srv/server is a 32-bit program (it cannot load runmain's library)" + instead);
  p.wide = true;
  CHECK(why(p).find("is a program for another machine") != std::string::npos);
  p = dynamic_program();
  p.sanitized = true;
  CHECK(why(p).find("is built with AddressSanitizer") != std::string::npos);
  p.known = false;
  CHECK(why(p).empty());
  Adoptee who;
  who.preload = "/usr/lib/libtsan.so.2";
  CHECK(why(dynamic_program(), who) == "cannot adopt: LD_PRELOAD names a sanitizer" + instead);
}

TEST_CASE("rights that a program gets by its file matter where they are not those of who runs it") {
  os::ProgramFile p = dynamic_program();
  p.setuid = true;
  p.uid = 0;
  Adoptee user;
  user.uid = user.gid = 1000;
  const std::string rights = "gets rights of its own by its file (the kernel lets nothing be loaded into it)";
  CHECK(why(p).empty());
  CHECK(why(p, user).find(rights) != std::string::npos);
  p.setuid = false;
  p.setgid = true;
  p.gid = 1000;
  CHECK(why(p, user).empty());
  CHECK(why(p).find(rights) != std::string::npos);
  p.setgid = false;
  p.capable = true;
  CHECK(why(p).empty());
  CHECK(why(p, user).find(rights) != std::string::npos);
}

TEST_CASE("a library that is not there, cannot be named or cannot be read is told") {
  Adoptee who;
  who.program = dynamic_program();
  CHECK(why_not_adopted(who, {}).value_or("").find("is not installed") != std::string::npos);
  CHECK(why_not_adopted(who, {"/my files/librunmain_adopt.so", true}).value_or("").find("has a blank") !=
        std::string::npos);
  const AdoptLibrary closed{"/closed/librunmain_adopt.so", false};
  CHECK_FALSE(why_not_adopted(who, closed));
  who.other_user = true;
  CHECK(why_not_adopted(who, closed).value_or("").find("cannot read /closed/") != std::string::npos);
}

TEST_CASE("LD_PRELOAD keeps what the user has in it, in front of ours, and never has ours twice") {
  const std::string ours = kLibrary.path;
  CHECK(with_adopt_library("", ours) == ours);
  CHECK(with_adopt_library("/a.so", ours) == "/a.so:" + ours);
  CHECK(with_adopt_library("/a.so /b.so", ours) == "/a.so /b.so:" + ours);
  CHECK(with_adopt_library("/a.so:/other/librunmain_adopt.so:/b.so", ours) == "/a.so:/b.so:" + ours);
  CHECK(own_preload(ours).empty());
  CHECK(own_preload(ours + ":" + ours).empty());
  CHECK(own_preload(ours + ":/a.so") == "/a.so");
  CHECK(own_preload("/a.so " + ours) == "/a.so");
  CHECK(own_preload("/a.so:/b.so:") == "/a.so:/b.so:");
  CHECK(own_preload("librunmain_adopt.so") == "");
  CHECK(own_preload("/x/not_librunmain_adopt.so") == "/x/not_librunmain_adopt.so");
}

TEST_CASE("a program is judged by its file, a script by its interpreter") {
  Programs files;
  const auto look = [&](const std::string& name) {
    return os::look_at_program(name, "/nowhere:" + files.folder(), "/");
  };
  files.add("static", elf(false));
  files.add("dynamic", elf(true));
  files.add("go", elf(true, ".note.go.buildid"));
  files.add("asan", elf(true, ".dynstr"));
  files.add("narrow", elf(true, ".text", ELFCLASS32));
  files.add("setuid", elf(true), 04755);
  CHECK(look("dynamic").known);
  CHECK(look("dynamic").dynamic);
  CHECK_FALSE(look("static").dynamic);
  CHECK(look("go").go);
  CHECK_FALSE(look("dynamic").go);
  CHECK(look("asan").sanitized);
  CHECK_FALSE(look("narrow").wide);
  CHECK(look("setuid").setuid);
  CHECK(look("setuid").uid == geteuid());
  files.add("script", "#! " + files.folder() + "/static -x\n");
  files.add("by_env", "#!/usr/bin/env -S A=1 go -u\nrest");
  files.add("twice", "#!" + files.folder() + "/by_env\n");
  CHECK(look("script").path == files.folder() + "/static");
  CHECK(look("by_env").go);
  CHECK(look("twice").path == files.folder() + "/go");
  CHECK(os::look_at_program("./static", "", files.folder()).path == files.folder() + "/static");
}

TEST_CASE("what cannot be read or is cut short is not known, and keeps nobody") {
  Programs files;
  const auto look = [&](const std::string& name) {
    return os::look_at_program(files.folder() + "/" + name, "", "/");
  };
  files.add("loop", "#!" + files.folder() + "/loop\n");
  CHECK_FALSE(look("loop").known);
  CHECK_FALSE(look("missing").known);
  CHECK_FALSE(os::look_at_program("", "", "/").known);
  CHECK_FALSE(look(".").known);
  const std::string whole = elf(true, ".note.go.buildid");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    files.add("cut", whole.substr(0, size));
    CHECK(look("cut").known == (size >= sizeof(Elf64_Ehdr)));
  }
  std::string wild = whole;
  for (std::size_t at = SELFMAG; at < whole.size(); ++at) {  // any byte of it may be any other
    wild[at] = '\xff';
    files.add("cut", wild);
    (void)look("cut");
    wild[at] = whole[at];
  }
}

TEST_CASE(
    "a worker of a service that is adopted is started with the library and the addresses, a helper is not") {
  Programs files;
  core::ServiceSpec spec;
  spec.name = "web";
  spec.command.argv = {files.add("server", elf(true)), "--port", "{port}"};
  spec.adopt = true;
  LaunchInput in;
  in.spec = &spec;
  in.key = {ServiceId{1}, 0, 1, 0};
  in.environment = {"LD_PRELOAD=/opt/runmain/librunmain_adopt.so:/mine.so"};
  in.listeners = {{"a", "web", "udp:127.0.0.1:53"}, {"b", "web", "[::]:8000"}};
  in.adopt = kLibrary;
  const auto has = [](const keeper::SpawnChild& child, const std::string& line) {
    return std::count(child.env.begin(), child.env.end(), line) == 1;
  };
  const Launch launch = plan(in);
  REQUIRE(std::holds_alternative<keeper::SpawnChild>(launch));
  const auto& child = std::get<keeper::SpawnChild>(launch);
  CHECK(child.adopt);
  CHECK(has(child, "LD_PRELOAD=/mine.so:" + kLibrary.path));
  CHECK(has(child, "RUNMAIN_ADOPT=udp:127.0.0.1:53,[::]:8000"));
  CHECK(has(child, "PORT=8000"));
  CHECK(child.argv[2] == "8000");

  in.key.slot = kBuildSlot;
  spec.watch.emplace();
  spec.watch->build = core::CommandSpec{{"make"}, false};
  in.listeners.clear();
  const auto helper = std::get<keeper::SpawnChild>(plan(in));
  CHECK_FALSE(helper.adopt);
  CHECK(has(helper, "LD_PRELOAD=/mine.so"));
}

TEST_CASE("a program that cannot be adopted is refused, and so is not started") {
  Programs files;
  core::ServiceSpec spec;
  spec.name = "web";
  spec.command.argv = {files.add("server", elf(false))};
  spec.adopt = true;
  LaunchInput in;
  in.spec = &spec;
  in.key = {ServiceId{1}, 0, 1, 0};
  in.listeners = {{"a", "web", "127.0.0.1:8000"}};
  in.adopt = kLibrary;
  const Launch launch = plan(in);
  REQUIRE(std::holds_alternative<keeper::RefuseSpawn>(launch));
  const auto& refused = std::get<keeper::RefuseSpawn>(launch);
  CHECK(refused.stage == static_cast<std::uint8_t>(core::SpawnStage::exec));
  CHECK(refused.detail ==
        "cannot adopt: " + spec.command.argv[0] +
            " is a static program (it makes its own system calls): use listen with {fd}, or port");
}
