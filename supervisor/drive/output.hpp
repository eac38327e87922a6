// The children's output, from the rings of the keeper to log files, history, terminal and followers.
//
//   ring ─► OutputReader ─► format_output ─┬─► OutputTerminal
//                                          └─► OutputFile or OutputHistory ─► consumed moves ─► followers
//
// The one worker of the one service, if it has a pty, has our terminal for itself: its bytes go there at once
// and as they are. Of other ptys a line without its end (a prompt) is shown after kOutputQuiet.
// Invariant: in a log file every line of a child is exactly once and whole, whatever instruction a head dies
// at (output_record.hpp); on a terminal one batch may be shown again. A sink that takes nothing (disk full, a
// pipe that nobody reads) holds the rings that go there and no others. Non-goal: freeing rings; that is the
// keeper's. Thread: the loop's. Bounds: kOutputTurn of work before the loop gets its turn; buffers of fixed
// size, given back when idle. Requires SIGPIPE and SIGXFSZ ignored.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/spec.hpp"
#include "drive/output_file.hpp"
#include "drive/output_format.hpp"
#include "drive/output_history.hpp"
#include "drive/output_reader.hpp"
#include "drive/output_record.hpp"
#include "drive/output_terminal.hpp"
#include "keeper/board.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

inline constexpr Duration kOutputTurn = std::chrono::milliseconds(2);
inline constexpr Duration kOutputRetry = std::chrono::seconds(1);         // of a log file that took nothing
inline constexpr Duration kOutputQuiet = std::chrono::milliseconds(120);  // after it a line is a prompt
inline constexpr std::size_t kOutputPromptMax = 1024;                     // longer ones are not shown as such
inline constexpr std::size_t kRecentBytesMax = 1U << 20U;  // looked at in a log file for recent()

// What the keeper's Welcome brought. All stay the caller's and outlive the Output.
struct OutputFds {
  int rings = -1;
  int history = -1;
  int output_event = -1;  // eventfd, the keeper to us
  int space_event = -1;   // eventfd, we to the keeper
};

class Output {
 public:
  // A sentence for the person who runs us: a log file that cannot be written, and that it can be again.
  using Tell = std::function<void(const std::string& line)>;
  using OnLine = std::function<void(const OutputLine& line)>;
  // Children whose output ended inside a line some time ago: they may be waiting for an answer.
  using OnQuiet = std::function<void(const std::vector<ChildKey>& keys)>;
  using Services = std::vector<std::pair<ServiceId, core::ServiceSpec>>;

  // `board` is the keeper's memory, mapped and not initialised again. Begins to listen to output_event.
  Output(os::Loop& loop, keeper::Board* board, const OutputFds& fds, OutputTerminal& terminal, Tell tell);
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // The services as they are from now on. One that is gone is known until its last ring is.
  void configure(const Services& services);

  // For a new head, once, after the first configure(): takes out what the dead one had half done and looks at
  // every ring.
  void recover();

  // Carries output for at most kOutputTurn. True if more is waiting; it then goes on by itself in the loop's
  // next turn. May be called at any time.
  bool on_output_event();

  // Every line from now on, after it is in its log; nullptr ends it.
  void follow(OnLine on_line) { on_line_ = std::move(on_line); }

  // Of ptys, also output that ends with a line is told when it is quiet.
  void listen_closely(bool closely) { closely_ = closely; }
  void on_quiet(OnQuiet callback) { on_quiet_ = std::move(callback); }
  // One child has the terminal for itself (see above).
  bool passes_through() const { return bare_ && bare_pty_ && terminal_.active() && terminal_.tty(); }

  // The last `count` lines of these services together, the oldest first, from files and history.
  std::vector<OutputLine> recent(const std::vector<ServiceId>& services, std::size_t count);

  // At the end, when the children are gone: carries out everything, waiting at most so long for files and
  // terminal. True if nothing is left.
  bool flush(Duration at_most);

 private:
  using Bits = std::array<std::uint64_t, keeper::kDirtyWords>;
  struct Log {
    std::unique_ptr<OutputFile> file;
    bool faulty = false;   // told
    bool resting = false;  // until the next kOutputRetry
  };
  struct Service {
    ServiceId id{};
    std::string name;
    bool numbered = false;
    bool configured = false;
    std::uint32_t colour = 0;  // of worker 0; the next workers have the next ones
    Log* log = nullptr;        // nullptr: history
  };
  // Lines up to `shown` are on the terminal but not yet in the log; the terminal has them out at `mark`.
  struct InFlight {
    std::uint64_t shown = 0;
    std::uint64_t mark = 0;
  };
  enum class Pumped { idle, more, held_by_terminal, held_by_log };

  void gather();
  void resume(Bits& held);
  void mark_used();
  bool carry(Time until);
  void carry_ring(std::uint32_t ring);
  bool fall_asleep();
  void retry_logs();

  Pumped pump(std::uint32_t ring);
  Pumped pump_bytes(const OutputStream& stream, Service& service);
  bool passes(const OutputStream& stream, const Service& service) const;
  Pumped pump_through(const OutputStream& stream, Service& service);
  void note_partial(const OutputStream& stream, std::uint64_t consumed);
  void quiet();
  void show_prompt(const OutputStream& stream, const Service& service);
  bool is_open(const OutputStream& stream) const;
  OutputPrefix prefix_of(const OutputStream& stream, const Service& service) const;
  bool log_ready(Service& service);
  bool format(OutputPlan& plan, const OutputStream& stream, Service& service, OutputBatch& batch);
  bool show(const OutputStream& stream, const OutputBatch& batch);
  bool keep(const OutputStream& stream, const OutputBatch& batch, Service& service);
  void log_fault(Service& service, const Error& error);
  void tell_room(const OutputStream& stream, std::uint64_t consumed);
  void follow_up(const OutputStream& stream, const OutputPlan& plan, std::size_t taken,
                 const Service& service);

  Service& service_of(ServiceId id);
  void prune();
  std::vector<OutputLine> recent_of(const Service& service, std::size_t count);

  os::Loop& loop_;
  keeper::Board* board_;
  OutputFds fds_;
  OutputTerminal& terminal_;
  Tell tell_;
  OnLine on_line_;
  OutputReader reader_;
  OutputRecord record_;
  OutputHistory history_;
  OutputStamp stamp_;
  OutputBuffer batch_{kOutputBatchMax};
  std::string shown_;  // the batch as the terminal gets it
  OutputPrefix file_prefix_;
  OutputPrefix terminal_prefix_;
  std::int64_t batch_time_ns_ = 0;
  std::unordered_map<std::uint32_t, Service> services_;    // by id
  std::map<std::string, Log> logs_;                        // by path
  std::unordered_map<std::uint32_t, InFlight> in_flight_;  // by ring
  Bits pending_{};
  Bits held_by_terminal_{};
  Bits held_by_log_{};
  std::uint32_t next_ring_ = 0;  // the next turn begins here
  // The prompt that stands on the terminal: so much of the line at `from`.
  struct Prompt {
    std::uint32_t ring = 0;
    std::uint64_t from = 0;
    std::size_t shown = 0;
  };
  std::optional<Prompt> prompt_;
  std::set<std::uint32_t> partial_;  // rings whose output ended inside a line
  struct Passed {
    ChildKey key;  // a ring is given to the next child without a word
    std::uint64_t upto = 0;
  };
  std::unordered_map<std::uint32_t, Passed> passed_;  // by ring: up to here it is on the terminal
  OnQuiet on_quiet_;
  std::size_t label_width_ = 0;
  bool closely_ = false;
  bool bare_ = false;      // one service, one worker: no prefix on the terminal
  bool bare_pty_ = false;  // … and it has a pty
  std::unique_ptr<os::Poll> event_poll_;
  std::unique_ptr<os::Timer> next_turn_;
  std::unique_ptr<os::Timer> retry_;
  std::unique_ptr<os::Timer> quiet_;
  bool retry_armed_ = false;
};

}  // namespace runmain::drive
