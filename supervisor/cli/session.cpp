#include "cli/session.hpp"

#include <cerrno>
#include <set>

namespace runmain::cli {
namespace {

constexpr int kTakeoversMax = 100;  // heads that may be replaced while one question is open

bool means_nothing_runs(int code) { return code == ENOENT || code == ECONNREFUSED || code == ENOTDIR; }

// A file that is gone still names its runmain, if its folder is there.
std::string config_path(const std::string& file) {
  const auto real = control::real_config(file);
  if (real.ok()) return *real;
  const std::size_t slash = file.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : file.substr(0, slash + 1);
  const auto real_folder = control::real_config(folder);
  return real_folder.ok() ? *real_folder + "/" + file.substr(slash == std::string::npos ? 0 : slash + 1)
                          : file;
}

}  // namespace

control::Folders folders_of(const Options& options) {
  return control::folders_of(config_path(options.file), options.runtime_dir, options.state_dir,
                             control::Environment::of_process());
}

namespace {

// Where it may run: for the file, then, if no file was named, as a `dev` of this folder.
std::vector<std::string> candidates(const Options& options, const control::Folders& folders) {
  const auto env = control::Environment::of_process();
  std::vector<std::string> all = control::runtime_candidates(folders, env);
  const auto here = control::real_config(".");
  if (options.file_given || folders.runtime_given || !here.ok()) return all;
  const auto more = control::runtime_candidates(
      control::folders_of(*here, options.runtime_dir, options.state_dir, env), env);
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

std::optional<Session> Session::open(const Options& options, Terminal& terminal, int& exit) {
  const control::Folders folders = folders_of(options);
  for (const std::string& runtime : candidates(options, folders)) {
    auto client = control::Client::connect(runtime + "/control", control::deadline_after(kQuestionLimit));
    if (client.ok()) return Session(std::move(*client), runtime);
    if (means_nothing_runs(client.error().code)) continue;
    complain(terminal, client.error());
    exit = client.error().code == ETIMEDOUT ? kTimedOut : kServiceFailed;
    return std::nullopt;
  }
  complain(terminal, Error{"nothing runs for " + folders.config,
                           {},
                           "start it with `runmain up`, `dev` or `serve`, or name another file with -c"});
  exit = kNothingRuns;
  return std::nullopt;
}

std::optional<Session> Session::find(const Options& options) {
  for (const std::string& runtime :
       control::runtime_candidates(folders_of(options), control::Environment::of_process())) {
    auto client = control::Client::connect(runtime + "/control", control::deadline_after(kQuestionLimit));
    if (client.ok()) return Session(std::move(*client), runtime);
  }
  return std::nullopt;
}

Result<Answer> Session::ask(const std::string& verb, const Json& args, Time deadline, bool again,
                            const std::function<bool(const Json&)>& on_item) {
  for (int left = kTakeoversMax;; --left) {
    auto answer = client_.call(verb, args, deadline, on_item);
    const bool replaced = !answer.ok() && answer.error().code == ECONNRESET;
    if (!replaced || !again || left == 0) return answer;
    auto next = control::Client::connect(runtime_ + "/control", deadline);
    if (!next.ok()) return answer;
    client_ = std::move(*next);
  }
}

int exit_of_code(const std::string& code) {
  if (code == control::kTimedOut) return kTimedOut;
  if (code == control::kBadRequest || code == control::kUnknownService || code == control::kUnknownVerb ||
      code == control::kConfiguration)
    return kUsage;
  return kServiceFailed;
}

int exit_of(const Result<Answer>& answer, Terminal& terminal) {
  if (!answer.ok()) {
    Error error = answer.error();
    if (error.code == ECONNRESET) error.hint = "it has ended, or was replaced: see `runmain status`";
    complain(terminal, error);
    return error.code == ETIMEDOUT ? kTimedOut : kServiceFailed;
  }
  if (answer->ok) return kClean;
  complain(terminal, answer->error);
  for (const Json& line : answer->output) {
    if (!line.is_object()) continue;
    terminal.err << "  " << harmless(control::text_of(line, "label")) << " | "
                 << harmless(control::text_of(line, "text")) << '\n';
  }
  return exit_of_code(answer->code);
}

std::optional<Json> question(const Options& options, Terminal& terminal, const std::string& verb,
                             const Json& args, int& exit) {
  auto session = Session::open(options, terminal, exit);
  if (!session) return std::nullopt;
  const auto answer = session->ask(verb, args, control::deadline_after(kQuestionLimit), true);
  if (!answer.ok() && answer.error().code == ETIMEDOUT) {
    Error error = answer.error();
    error.hint = "its terminal or log tells why; what it keeps running goes on";
    complain(terminal, error);
    exit = kTimedOut;
    return std::nullopt;
  }
  exit = exit_of(answer, terminal);
  if (exit != kClean) return std::nullopt;
  return answer->value;
}

int service_command(const Options& options, Terminal& terminal, const std::string& done) {
  if (options.services.empty() && !options.all) {
    complain(terminal, Error{options.command + " needs a service", {}, "name services, or say --all"});
    return kUsage;
  }
  int exit = kClean;
  auto session = Session::open(options, terminal, exit);
  if (!session) return exit;
  Json args = Json::object();
  if (!options.all) args["services"] = options.services;
  if (options.canary > 0) args["canary"] = options.canary;
  if (options.no_wait) args["wait"] = false;
  // Asking a successor again is safe only where doing it twice is doing it once.
  const bool again = options.command == "start" || options.command == "stop";
  exit = exit_of(session->ask(options.command, args, options.deadline(), again), terminal);
  if (exit != kClean) return exit;
  if (options.all) terminal.out << done << ": all services\n";
  std::set<std::string> told;
  for (const std::string& service : options.services) {
    if (!options.all && told.insert(service).second)
      terminal.out << done << ": " << harmless(service) << '\n';
  }
  return kClean;
}

}  // namespace runmain::cli
