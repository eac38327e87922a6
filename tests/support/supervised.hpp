// A real `runmain up` in a fresh folder: started, asked, listened to, ended. For integration tests and
// benchmarks. Waiting is on facts: a line of its output, an event of its stream, the end of a process. Every
// wait has a guard (kGuard), which only a failure reaches. The destructor ends everything and removes the
// folder.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace runmain::test {

using Json = nlohmann::json;
inline constexpr std::chrono::seconds kGuard{30};

// A new empty folder, removed with all that is in it.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  // Writes by a temporary file and rename, as editors do.
  void write(const std::string& name, const std::string& text) const;
  std::string read(const std::string& name) const;

 private:
  std::string path_;
};

// A program that ran to its end.
struct Ran {
  int status = 0;   // exit status, or 128 + signal
  std::string out;  // stdout and stderr
};
Ran run(const std::vector<std::string>& argv, const std::string& cwd = ".");

// A control connection: one request, or a stream of items.
class Control {
 public:
  explicit Control(const std::string& socket_path);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  bool connected() const { return fd_ >= 0; }
  Json request(const std::string& verb, Json args = Json::object());
  void send(const std::string& verb, Json args);
  // The next line; null when the guard is over or the connection is closed.
  Json next(std::chrono::milliseconds guard = kGuard);

 private:
  int fd_ = -1;
  int last_id_ = 0;
  std::string buffer_;
};

class Supervised {
 public:
  // `toml` may name the build's programs as @BIN@ and the folder as @DIR@. Does not wait.
  explicit Supervised(const std::string& toml, std::vector<std::string> arguments = {});
  // `runmain dev ARGUMENTS` (or `serve`) in the folder, in which there is no file; the same names in the
  // arguments. It is found by its folder: XDG_RUNTIME_DIR and XDG_STATE_HOME are elsewhere as long as this
  // lives.
  struct Dev {
    std::vector<std::string> arguments;
    std::string command = "dev";
  };
  explicit Supervised(const Dev& dev);
  ~Supervised();
  Supervised(const Supervised&) = delete;
  Supervised& operator=(const Supervised&) = delete;

  Folder& folder() { return folder_; }
  // With the programs of the build, or of another folder.
  void start(const std::string& bin = RUNMAIN_BIN_DIR);
  // Waits until every wanted service is ready (verb wait). False: one failed; the answer is in `why`.
  bool wait_ready(std::string* why = nullptr);
  Json status();
  Json service(const std::string& name);
  Json request(const std::string& verb, Json args = Json::object());
  // Runs `runmain VERB -c FILE …` on this instance.
  Ran cli(std::vector<std::string> arguments);
  // The first event from the beginning of the stream that `matches`; later calls go on behind it.
  Json wait_event(const std::function<bool(const Json&)>& matches);
  Json wait_event(const std::string& type, const std::string& service = "");
  // Waits until the status fulfils this, looking again after every event.
  Json wait_status(const std::function<bool(const Json&)>& holds);
  // Waits until its output has this text; what was printed so far is in output().
  bool wait_output(const std::string& text, std::chrono::milliseconds guard = kGuard);
  const std::string& output() { return output_; }
  // Waits for any more output. False when there is none within the guard or it has ended.
  bool wait_output_more();
  void close_events() { events_.reset(); }

  pid_t keeper_pid() const { return pid_; }
  pid_t head_pid() const;
  std::string address(const std::string& service, std::size_t index = 0);
  // The pids of all living workers of a service.
  std::vector<pid_t> pids(const std::string& service);
  void signal(int number) const;
  // Waits for the end of the keeper: exit status, or 128 + signal; -1 when the guard is over.
  int wait_exit();
  int stop(int number = 15) {
    signal(number);
    return wait_exit();
  }
  std::string control_path() const;
  void set_config(const std::string& toml);

 private:
  void read_output(std::chrono::milliseconds at_most);
  std::string expand(std::string toml) const;

  Folder folder_;
  Folder beside_;
  std::vector<std::string> arguments_;
  bool dev_ = false;
  std::string command_ = "up";
  pid_t pid_ = -1;
  int out_fd_ = -1;
  bool ended_ = false;
  int exit_ = -1;
  std::string output_;
  std::unique_ptr<Control> events_;
};

// Waits for the end of a process that is not our child, by pidfd. False when the guard is over.
bool wait_gone(pid_t pid, std::chrono::milliseconds guard = kGuard);
bool alive(pid_t pid);
// Stops it, and returns when it stands still: it accepts and answers nothing from here on. False: it is gone.
bool freeze(pid_t pid);
std::vector<pid_t> children_of(pid_t pid);
// The observer among them, by its name; 0: there is none.
pid_t observer_of(pid_t keeper);
// The pids that t_child printed as "grandchild PID".
std::vector<pid_t> grandchildren_in(const std::string& output);
// Waits until the first service serves in this generation, with one worker and none of another left.
bool serves(Supervised& up, int generation);
// A TCP port of the loopback that nobody has.
int free_port();

}  // namespace runmain::test
