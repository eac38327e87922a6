// SIGKILL of the head at random moments while 20 services run, crash, reload and talk, and clients ask:
// second copies, lost exit statuses, lost or repeated log lines, failed requests.
//   b_head [KILLS] [SEED]
#include <poll.h>
#include <signal.h>

#include <map>
#include <random>
#include <sstream>

#include "bench.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::bench;
using namespace runmain::test;

namespace {

// web: served and reloaded; crash0…: end with a status of their own again and again and write each start
// down; talk0…: count into a log file.
std::string world() {
  std::string toml =
      "[service.web]\ncommand = [\"@BIN@/hello\", \"--fd\", \"{fd}\"]\nlisten = [\"127.0.0.1:0\"]\nworkers = "
      "2\n"
      "watch = { paths = [\"src\"] }\n";
  for (int i = 0; i < 9; ++i) {
    toml += "[service.crash" + std::to_string(i) + "]\nshell = true\ncommand = \"echo start >> @DIR@/starts" +
            std::to_string(i) + "; read x < @DIR@/never" + std::to_string(i) +
            " 2>/dev/null; exec @BIN@/t_child exit " + std::to_string(10 + i) +
            "\"\nrestart = { policy = \"always\", initial = \"20ms\", max = \"200ms\" }\n";
  }
  for (int i = 0; i < 10; ++i) {
    toml += "[service.talk" + std::to_string(i) +
            "]\nshell = true\ncommand = \"i=0; while :; do echo line $i; i=$((i+1)); done\"\n"
            "log = { file = \"talk" +
            std::to_string(i) + ".log\", max_size = \"4MB\", keep = 1000 }\n";
  }
  return toml;
}

struct Lines {
  long wrong = 0;
  long count = 0;
};

Lines check_log(const Folder& folder, const std::string& name) {
  Lines lines;
  long expected = 0;
  for (int i = 1000; i >= 0; --i) {
    std::istringstream text(folder.read(i == 0 ? name : name + "." + std::to_string(i)));
    for (std::string line; std::getline(text, line);) {
      const std::size_t at = line.find("| line ");
      if (at == std::string::npos || line.substr(at + 7) != std::to_string(expected)) ++lines.wrong;
      ++expected;
      ++lines.count;
    }
  }
  return lines;
}

}  // namespace

int main(int argc, char** argv) {
  const int kills = argc > 1 ? std::atoi(argv[1]) : 200;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : std::random_device()();
  std::mt19937 random(seed);
  std::printf("seed %u\n", seed);
  Folder journal;
  Supervised up(world(), {"--journal", journal.file("journal")});
  up.folder().write("src/main.txt", "0");
  up.start();
  up.wait_status([](const Json& s) { return s["services"][0]["state"] == "ready"; });
  HttpLoad load(up.address("web"), 2);
  long second_copies = 0;
  for (int i = 0; i < kills; ++i) {
    if (i % 4 == 0) up.folder().write("src/main.txt", std::to_string(i));
    poll(nullptr, 0, static_cast<int>(random() % 100));  // the random moment
    const pid_t head = up.head_pid();
    if (head <= 0) continue;
    kill(head, SIGKILL);
    wait_gone(head);
    const Json status = up.status();
    std::map<std::string, int> copies;
    for (const Json& s : status["services"]) {
      for (const Json& w : s["workers"]) {
        const std::string state = w["state"];
        if (state == "ready" || state == "starting") {
          ++copies[s["name"].get<std::string>() + std::to_string(w["slot"].get<int>()) + "/" +
                   std::to_string(w["generation"].get<int>())];
        }
      }
    }
    for (const auto& [key, n] : copies) second_copies += n - 1;
  }
  load.stop();
  // Every living child of the keeper is one that the head knows, and the other way round.
  const Json last = up.wait_status([](const Json& s) { return s["services"][0]["state"] == "ready"; });
  long known = 0;
  for (const Json& s : last["services"]) known += static_cast<long>(s["workers"].size());
  up.stop();
  // Exit statuses, from the journal: every start of a crasher but those at the end has told its own status.
  long starts = 0, exits = 0, wrong_status = 0;
  for (int i = 0; i < 9; ++i) {
    std::istringstream text(up.folder().read("starts" + std::to_string(i)));
    for (std::string line; std::getline(text, line);) ++starts;
  }
  std::ifstream in(journal.file("journal"));
  std::map<std::string, long> by_pid;
  for (std::string line; std::getline(in, line);) {
    const Json e = Json::parse(line, nullptr, false);
    if (!e.is_object() || e.value("type", "") != "child.exited") continue;
    const Json& service = e["service"];
    if (!service.is_string() || service.get<std::string>().rfind("crash", 0) != 0) continue;
    ++exits;
    const int wanted = (10 + std::atoi(service.get<std::string>().c_str() + 5)) << 8;
    const int status = e["data"]["status"].get<int>();
    if (status != wanted && status != SIGTERM) ++wrong_status;
  }
  Lines lines;
  for (int i = 0; i < 10; ++i) {
    const Lines l = check_log(up.folder(), "talk" + std::to_string(i) + ".log");
    lines.count += l.count;
    lines.wrong += l.wrong;
  }
  row("second copies after " + std::to_string(kills) + " SIGKILLs of the head", std::to_string(second_copies),
      "0");
  row("exit statuses",
      std::to_string(starts) + " starts, " + std::to_string(exits) + " deaths told, " +
          std::to_string(wrong_status) + " with another status",
      "all told, 0 wrong");
  row("log lines",
      std::to_string(lines.count) + " lines, " + std::to_string(lines.wrong) + " lost, torn or repeated",
      "0");
  row("requests", std::to_string(load.failed()) + " of " + std::to_string(load.done()) + " failed", "0");
  return 0;
}
