// A supervised service whose workers write spans at a rate, reloaded by saving a file: for b_collector,
// b_soak.
#pragma once

#include <filesystem>
#include <iterator>
#include <memory>
#include <string>

#include "bench.hpp"
#include "support/span_counters.hpp"
#include "support/span_sink.hpp"
#include "support/supervised.hpp"

namespace runmain::bench {

class SpansWorld {
 public:
  // `endpoint` empty: telemetry is off. Each of `workers` has `threads` that write `rate` spans a second, and
  // sleep for `pause_ms` at a time (0: as short as it goes).
  SpansWorld(const std::string& endpoint, int workers, int threads, int rate, int pause_ms = 0)
      : counters_(spans::map_counters(counters_folder_.file("counters").c_str())) {
    const std::string telemetry = endpoint.empty() ? "[telemetry]\nenabled = false\n"
                                                   : "[telemetry]\nendpoint = \"" + endpoint + "\"\n";
    up_ = std::make_unique<test::Supervised>(
        telemetry + "[service.web]\ncommand = [\"@BIN@/t_spans\", \"" + counters_folder_.file("counters") +
        "\", \"" + std::to_string(threads) + "\", \"" + std::to_string(rate) + "/" +
        std::to_string(pause_ms) + "\"]\nlisten = \"127.0.0.1:0\"\nworkers = " + std::to_string(workers) +
        "\nwatch = [\"code1.txt\", \"code2.txt\", \"code3.txt\"]\n");
    for (const char* file : kFiles) up_->folder().write(file, "0");
  }
  bool begin() {
    up_->start();
    return up_->wait_ready();
  }
  test::Supervised& up() { return *up_; }
  spans::Counters& counters() { return *counters_; }

  // Saves, and returns how long it took until the new generation serves; below 0: it did not. Another file
  // each time: a program that saves one within seconds of each start is looked at, as nobody's editor does
  // that.
  double reload_ms() {
    const auto begin = Clock::now();
    const char* file = kFiles[static_cast<std::size_t>(saves_) % std::size(kFiles)];
    up_->folder().write(file, std::to_string(++saves_));
    const test::Json done = up_->wait_event("reload.done", "web");
    return done.is_object() ? ms_since(begin) : -1;
  }
  // What all workers' threads have ended.
  std::uint64_t ended() const {
    std::uint64_t sum = 0;
    for (std::uint32_t r = 0; r < counters_->used && r < spans::kRows; ++r) {
      for (const auto& n : counters_->rows[r].ended) sum += n;
    }
    return sum;
  }

 private:
  static constexpr const char* kFiles[] = {"code1.txt", "code2.txt", "code3.txt"};
  test::Folder counters_folder_;
  spans::Counters* counters_;
  std::unique_ptr<test::Supervised> up_;
  int saves_ = 0;
};

}  // namespace runmain::bench
