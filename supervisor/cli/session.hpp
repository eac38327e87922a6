// A conversation with the runmain that a command means.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "cli/options.hpp"
#include "control/client.hpp"
#include "control/paths.hpp"

namespace runmain::cli {

using control::Json;
using Answer = control::Client::Answer;

// Questions are answered at once; a head that takes over needs less than this.
inline constexpr std::chrono::seconds kQuestionLimit{15};

// The folders of the runmain for options.file, which may be gone by now.
control::Folders folders_of(const Options& options);

class Session {
 public:
  // Connects. On failure complains and sets `exit`: kNothingRuns, or what else it was.
  static std::optional<Session> open(const Options& options, Terminal& terminal, int& exit);

  // The same without a complaint: nothing where nothing runs or answers.
  static std::optional<Session> find(const Options& options);

  // One verb. `again`: if the supervisor is replaced meanwhile, ask its successor. On failure as
  // Client::call().
  Result<Answer> ask(const std::string& verb, const Json& args, Time deadline, bool again,
                     const std::function<bool(const Json&)>& on_item = nullptr);

  // A reload that is waited for: if the supervisor is replaced meanwhile, until its successor knows how it
  // went.
  Result<Answer> reload(const Json& args, Time deadline);

  // The runtime folder where it runs.
  const std::string& runtime() const { return runtime_; }

 private:
  Session(control::Client client, std::string runtime)
      : client_(std::move(client)), runtime_(std::move(runtime)) {}
  Result<Answer> outcome_of_reload(const Json& args, Time begun, Time deadline);

  control::Client client_;
  std::string runtime_;
};

// Complains about an answer that is an error, or about none, and returns the exit status.
int exit_of(const Result<Answer>& answer, Terminal& terminal);
int exit_of_code(const std::string& code);

// A question: opens, asks within kQuestionLimit, complains. On failure nothing, with `exit` set. `runtime`:
// where the answer came from.
std::optional<Json> question(const Options& options, Terminal& terminal, const std::string& verb,
                             const Json& args, int& exit, std::string* runtime = nullptr);

// start, stop, restart, reload: one verb for options.services, waited for.
int service_command(const Options& options, Terminal& terminal, const std::string& done);

}  // namespace runmain::cli
