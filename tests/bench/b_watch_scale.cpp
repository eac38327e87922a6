// What large trees cost: ignored files by the hundred thousand, and many watched folders.
//   b_watch_scale [IGNORED_FILES] [WATCHED_FOLDERS]
#include "contenders.hpp"

#include <filesystem>

using namespace runmain::bench;
namespace fs = std::filesystem;

namespace {

constexpr int kRounds = 9;
constexpr int kFilesAFolder = 100;
constexpr int kFoldersAFolder = 200;
constexpr int kSaves = 30;

void make_file(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  (void)!write(fd, "x", 1);
  close(fd);
}

void make_files(const std::string& top, int files, const std::string& ending) {
  for (int i = 0; i < files; ++i) {
    const std::string folder = top + "/d" + std::to_string(i / kFilesAFolder);
    if (i % kFilesAFolder == 0) fs::create_directories(folder);
    make_file(folder + "/f" + std::to_string(i) + ending);
  }
}

// The program itself: what is watched in every case.
void make_sources(const std::string& folder) { make_files(folder + "/app", 1000, ".py"); }

int watches(pid_t pid) {
  int count = 0;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fdinfo", gone)) {
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) count += line.rfind("inotify ", 0) == 0 ? 1 : 0;
  }
  return count;
}

double find_ms(const std::string& folder) {
  const auto begin = Clock::now();
  const pid_t pid = fork();
  if (pid == 0) {
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, 1);
    execlp("find", "find", folder.c_str(), nullptr);
    _exit(127);
  }
  waitpid(pid, nullptr, 0);
  return ms_since(begin);
}

struct Tree {
  const char* what;
  std::unique_ptr<Runmain> dev;
  std::vector<double> start;
  std::vector<double> find;
  int watched = 0;

  Tree(const char* name, const Fill& fill) : what(name), dev(std::make_unique<Runmain>(fill)) {
    dev->first_start();
  }
  void round() {
    dev->stop();
    find.push_back(find_ms(dev->folder()));
    const long long before = now_ns();
    start.push_back(dev->start_again() - static_cast<double>(before) / 1e6);
    watched = watches(dev->pids()[1]);
  }
};

void ignored(int files) {
  Tree plain("none", make_sources);
  Tree by_folder("folder", [&](const std::string& folder) {
    make_sources(folder);
    make_files(folder + "/node_modules/lib", files, ".js");
  });
  Tree by_glob("glob", [&](const std::string& folder) {
    make_sources(folder);
    std::ofstream(folder + "/.gitignore") << "*.dat\ncache-*/\n";
    for (int i = 0; i < files / 2; ++i) {
      const std::string below = folder + "/cache-" + std::to_string(i / kFilesAFolder);
      if (i % kFilesAFolder == 0) fs::create_directories(below);
      make_file(below + "/f" + std::to_string(i));
    }
    for (int i = 0; i < files / 2; ++i) make_file(folder + "/src/f" + std::to_string(i) + ".dat");
  });
  for (int i = 0; i < kRounds; ++i) {
    for (Tree* tree : {&plain, &by_folder, &by_glob}) tree->round();
  }
  const auto start = [](const Tree& t) { return percentile(t.start, 50); };
  const std::string count = std::to_string(files) + " files ";
  row("start to main() beside " + count + "in an ignored folder, median of " + std::to_string(kRounds),
      number(start(by_folder), " ms") + ", without them " + number(start(plain), " ms") + "; " +
          std::to_string(by_folder.watched - plain.watched) + " watches more",
      "at most 20 ms more, 0 watches");
  row("the same, ignored by globs: half as files, half as folders",
      number(start(by_glob), " ms") + "; one find of the tree " +
          number(percentile(by_glob.find, 50), " ms") + "; ratio of what it adds " +
          number((start(by_glob) - start(plain)) / percentile(by_glob.find, 50)) + "; " +
          std::to_string(by_glob.watched - plain.watched) + " watches more",
      "at most 2 times the find, 0 watches");
}

std::string memory_of(Contender& one) {
  double sum = 0;
  std::string text;
  for (const pid_t pid : one.pids()) {
    const double mib = private_mib(pid);
    sum += mib;
    text += (text.empty() ? "" : " + ") + number(mib);
  }
  return one.pids().size() > 1 ? text + " = " + number(sum, " MiB") : number(sum, " MiB");
}

void watched(std::unique_ptr<Contender> one, long long began, int folders) {
  const auto first = one->first_stamp();
  const double start = static_cast<double>(first - began) / 1e6;
  poll(nullptr, 0, 5000);  // whatever it does after its start is over
  const int all = watches(one->pids().back());
  const std::string memory = memory_of(*one);
  for (int i = 0; i < kSaves; ++i) {
    one->measure(i);
    poll(nullptr, 0, 60);
  }
  one->end();
  row(std::to_string(folders) + " watched folders with a file each: " + one->name(),
      "start to main() " + number(start, " ms", 0) + ", " + std::to_string(all) +
          " watches, private memory " + memory + "; save to main(): " + one->text(),
      "");
}

void make_folders(const std::string& folder, int folders) {
  for (int i = 0; i < folders; ++i) {
    const std::string below = folder + "/src/tree/" + std::to_string(i / kFoldersAFolder) + "/" +
                              std::to_string(i % kFoldersAFolder);
    fs::create_directories(below);
    make_file(below + "/f.txt");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int files = argc > 1 ? std::atoi(argv[1]) : 200'000;
  const int folders = argc > 2 ? std::atoi(argv[2]) : 50'000;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  if (files > 0) ignored(files);
  if (folders == 0) return 0;
  long long began = 0;
  const Fill fill = [&](const std::string& folder) {
    make_folders(folder, folders);
    began = now_ns();
  };
  auto dev = std::make_unique<Runmain>(fill);
  watched(std::move(dev), began, folders);
  if (!on_path("watchexec")) return 0;
  auto peer = std::make_unique<Peer>("watchexec", fill);
  watched(std::move(peer), began, folders);
  return 0;
}
