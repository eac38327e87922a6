// Prints what watching costs: the first scan of a tree (watches, listing, hashing) and the time from the
// close of an edited file to its Changed. Usage: watch_scan [FILES [EDITS]]; works in a new folder under
// $TMPDIR.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "drive/watcher.hpp"
#include "os/linux/fd.hpp"

namespace {

using namespace runmain;
namespace fs = std::filesystem;
constexpr int kFilesAFolder = 100;
constexpr Duration kGuard = std::chrono::seconds(10);

double ms(Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

// Without O_TRUNC: some file systems flush a file that was truncated when it is closed.
void write_file(const std::string& path, const std::string& text) {
  const os::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!fd || !os::write_all(fd.get(), text)) std::abort();
}

std::string path_of(const std::string& top, int i) {
  return top + "/d" + std::to_string(i / kFilesAFolder) + "/f" + std::to_string(i) + ".py";
}

void make_tree(const std::string& top, int files) {
  for (int i = 0; i < files; ++i) {
    if (i % kFilesAFolder == 0) fs::create_directories(fs::path(path_of(top, i)).parent_path());
    write_file(path_of(top, i), std::string(2000, static_cast<char>('a' + i % 26)) + std::to_string(i));
  }
}

void print_percentiles(const char* what, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  std::printf("%-34s median %8.3f ms   p99 %8.3f ms   max %8.3f ms\n", what, values[values.size() / 2],
              values[values.size() * 99 / 100], values.back());
}

bool measure(const std::string& top, int files, int edits) {
  os::Loop loop;
  drive::FileTable table;
  int told = 0;
  drive::Watcher watcher(loop, table,
                         {[&](const core::Changed&) { ++told; }, [](core::Held) {},
                          [](const std::string& t) { std::printf("told: %s\n", t.c_str()); }});
  core::WatchSpec spec;
  spec.paths = {top};
  const Time start = os::Loop::now();
  watcher.set(ServiceId{1}, spec);
  const Time set = os::Loop::now();
  while (watcher.busy()) loop.turn(std::chrono::milliseconds(10));
  std::printf("%-34s %8.1f ms until set() returns, %.1f ms until all is hashed\n",
              ("first scan of " + std::to_string(files) + " files").c_str(), ms(set - start),
              ms(os::Loop::now() - start));
  const Time saving = os::Loop::now();
  const std::string saved = table.save();
  std::printf("%-34s %8.1f ms, %zu KiB\n", "table saved in", ms(os::Loop::now() - saving),
              saved.size() / 1024);

  std::vector<double> latency;
  for (int i = 0; i < edits; ++i) {
    told = 0;
    write_file(path_of(top, i * 37 % files), "edit " + std::to_string(i) + "\n");
    const Time closed = os::Loop::now();
    while (told == 0) {
      if (os::Loop::now() - closed > kGuard) return false;
      loop.turn(std::chrono::milliseconds(10));
    }
    latency.push_back(ms(os::Loop::now() - closed));
  }
  print_percentiles("close of an edit to Changed", latency);

  drive::FileTable again;
  if (!again.restore(table.save())) return false;
  const Time takeover = os::Loop::now();
  drive::Watcher next(loop, again,
                      {[](const core::Changed&) {}, [](core::Held) {}, [](const std::string&) {}});
  next.set(ServiceId{1}, spec);
  std::printf("%-34s %8.1f ms\n", "takeover: all compared in", ms(os::Loop::now() - takeover));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const int files = argc > 1 ? std::atoi(argv[1]) : 10'000;
  const int edits = argc > 2 ? std::atoi(argv[2]) : 1'000;
  if (files < 1 || edits < 1) return 2;
  std::string top = (fs::temp_directory_path() / "runmain-bench-XXXXXX").string();
  if (mkdtemp(top.data()) == nullptr) return 1;
  make_tree(top, files);
  const bool good = measure(top, files, edits);
  std::error_code ignored;
  fs::remove_all(top, ignored);
  return good ? 0 : 1;
}
