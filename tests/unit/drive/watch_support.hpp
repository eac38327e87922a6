// A folder of its own for each test, files in it, and a watcher whose loop is turned until a fact is there.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "drive/watcher.hpp"
#include "os/loop/loop.hpp"
#include "support/catch.hpp"

namespace runmain::drive::test {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

inline constexpr Duration kGuard = 5s;
inline const ServiceId kWeb{1};
inline const ServiceId kApi{2};

class TempFolder {
 public:
  TempFolder() {
    std::string name = (fs::temp_directory_path() / "runmain-watch-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = fs::canonical(name).string();
  }
  ~TempFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Opens, writes all and closes; throws when that fails.
inline void write_file(const std::string& path, std::string_view text, int flags = O_CREAT | O_TRUNC) {
  const os::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0644));
  if (!fd) throw std::runtime_error("open " + path);
  if (!os::write_all(fd.get(), text)) throw std::runtime_error("write " + path);
}

inline void run(const std::string& command) {
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

struct Rig {
  explicit Rig(std::size_t files_max = kTableMax, std::size_t folders_max = kWatchesMax)
      : table(files_max), folders_max_(folders_max) {
    start();
  }
  void start() {
    watcher =
        std::make_unique<Watcher>(loop, table,
                                  WatchCallbacks{[this](core::Changed c) { changes.push_back(std::move(c)); },
                                                 [this](core::Held h) { holds.push_back(h); },
                                                 [this](std::string t) { told.push_back(t); }},
                                  folders_max_);
  }
  // The head dies and another one takes the table over, as far as it was saved.
  void take_over(const std::string& saved) {
    watcher.reset();
    if (!table.restore(saved)) throw std::runtime_error("restore");
    changes.clear();
    start();
  }
  void watch(const std::vector<std::string>& paths, const std::vector<std::string>& ignore = {},
             ServiceId service = kWeb) {
    core::WatchSpec spec;
    spec.paths = paths;
    spec.ignore = ignore;
    watcher->set(service, spec);
  }
  void watch_folder(const std::vector<std::string>& ignore = {}) { watch({folder.path()}, ignore); }

  bool until(const std::function<bool()>& fact, Duration guard = kGuard) {
    const Time end = os::Loop::now() + guard;
    while (!fact()) {
      if (os::Loop::now() > end) return false;
      loop.turn(20ms);
    }
    return true;
  }
  // Turns until nothing is under way: what was done before has been judged and told.
  bool rest() {
    bool quiet = false;
    return until([&] {
      const auto events = watcher->counts().events;
      loop.turn(1ms);
      const bool now_quiet = !watcher->busy() && watcher->counts().events == events;
      return std::exchange(quiet, now_quiet) && now_quiet;
    });
  }
  bool was_told(const std::string& part) const {
    return std::any_of(told.begin(), told.end(),
                       [&](const auto& t) { return t.find(part) != std::string::npos; });
  }
  // The paths below the folder that were told to a service since the last call, and in how many deliveries.
  std::set<std::string> paths(ServiceId service = kWeb) {
    std::set<std::string> found;
    deliveries = 0;
    for (const core::Changed& c : changes) {
      if (c.service != service) continue;
      ++deliveries;
      for (const std::string& p : c.paths) {
        found.insert(
            p.compare(0, folder.path().size(), folder.path()) == 0 ? p.substr(folder.path().size() + 1) : p);
      }
    }
    std::erase_if(changes, [&](const auto& c) { return c.service == service; });
    return found;
  }
  // Changes another file and returns all that was told until that and everything before it was.
  std::set<std::string> after_sentinel(ServiceId service = kWeb) {
    const std::string name = "sentinel";
    write_file(folder / name, std::to_string(++sentinels));
    const bool came = until([&] {
      return std::any_of(changes.begin(), changes.end(), [&](const core::Changed& c) {
        return c.service == service && std::count(c.paths.begin(), c.paths.end(), folder / name) > 0;
      });
    });
    const bool quiet = rest();
    auto found = paths(service);
    if (!came || !quiet) found.insert("(no sentinel)");
    found.erase(name);
    return found;
  }

  TempFolder folder;
  os::Loop loop;
  FileTable table;
  std::vector<core::Changed> changes;
  std::vector<core::Held> holds;
  std::vector<std::string> told;
  std::unique_ptr<Watcher> watcher;
  int deliveries = 0;
  int sentinels = 0;

 private:
  std::size_t folders_max_;
};

using Names = std::set<std::string>;

}  // namespace runmain::drive::test
