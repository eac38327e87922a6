// A terminal with a shell in it that knows one job: `runmain up` in the foreground, stopped by Ctrl-Z,
// continued by the line "fg". For tests of what a person at a terminal sees and types.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <string>
#include <vector>

#include "support/supervised.hpp"

namespace runmain::test {

class JobShell {
 public:
  // `piped`: its stdout is read by a `cat` in its group.
  enum class Start { foreground, background, without_stdin, piped };
  // `toml` may name the build's programs as @BIN@ and the folder as @DIR@, in which there is src/one. Starts
  // at once.
  explicit JobShell(std::string toml, Start start = Start::foreground);
  ~JobShell();
  JobShell(const JobShell&) = delete;
  JobShell& operator=(const JobShell&) = delete;

  Folder& folder() { return folder_; }
  std::string control_path() const { return folder_.file("run/control"); }
  pid_t keeper_pid() const { return keeper_; }
  pid_t head_pid() const;
  void type(const std::string& bytes) const;
  // Reads the terminal until it shows this behind what was waited for before. False when the guard is over.
  bool shows(const std::string& text);
  // All that was shown.
  const std::string& screen() const { return screen_; }
  // The terminal's modes as the shell would find them now; waits until they are with or without lines.
  bool comes_to_lines(bool lines) const;
  termios modes() const;
  // Waits for the end of the job: "[ended STATUS]" on the screen.
  int wait_end();
  void hang_up();
  void resize(unsigned short columns, unsigned short rows) const;
  // Waits until the control socket is there.
  bool reaches_control() const;
  // The control socket's answer, with its "ok".
  Json request(const std::string& verb, Json args = Json::object()) const;
  // Runs `runmain VERB …` on this instance, from outside.
  Ran cli(std::vector<std::string> arguments) const;

 private:
  [[noreturn]] void be_shell(Start start) const;

  Folder folder_;
  int terminal_ = -1;
  pid_t shell_ = -1;
  pid_t keeper_ = -1;
  std::string screen_;
  std::size_t seen_ = 0;
};

}  // namespace runmain::test
