#include "cli/session.hpp"

#include "cli/left_behind.hpp"

#include <cerrno>
#include <set>
#include <thread>

namespace runmain::cli {
namespace {

constexpr std::chrono::milliseconds kReloadAsked{50};  // between questions what became of a reload
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

// How a reload that began at `begun` has ended, by an answer to `why`; nothing while it is under way.
std::optional<Answer> end_of_reload(const Json& why, Time begun) {
  const Json none = Json::object();
  const Json& service = why.contains("service") ? why["service"] : none;
  const std::string name = control::text_of(service, "name");
  const std::string state = control::text_of(service, "state");
  for (const char* under_way : {"reloading", "building", "starting", "stopping", "waiting"}) {
    if (state == under_way) return std::nullopt;
  }
  const Json history = why.value("history", Json::array());
  for (auto event = history.rbegin(); event != history.rend(); ++event) {
    if (control::number_of(*event, "mono_ns") < begun.time_since_epoch().count()) break;
    const std::string type = control::text_of(*event, "type");
    if (type == "reload.done") return Answer{true, nullptr, {}, {}, {}};
    if (type != "reload.failed" && type != "reload.build_failed") continue;
    const Json data = event->value("data", Json::object());
    const std::string reason = control::text_of(data, type == "reload.failed" ? "reason" : "text");
    return Answer{false, nullptr, control::kFailed, Error{name + ": " + reason}, {}};
  }
  return Answer{false,
                nullptr,
                control::kFailed,
                Error{name + ": the supervisor was replaced before the reload had begun", {}, "ask again"},
                {}};
}

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
  const auto left = find_left_behind(options);
  complain(terminal,
           left ? error_of(*left)
                : Error{"nothing runs for " + folders.config,
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

Result<Answer> Session::reload(const Json& args, Time deadline) {
  const Time begun = control::deadline_after(Duration::zero());
  auto answer = client_.call("reload", args, deadline);
  for (int left = kTakeoversMax; left > 0; --left) {
    const bool replaced = !answer.ok() && answer.error().code == ECONNRESET;
    if (!replaced) return answer;
    auto next = control::Client::connect(runtime_ + "/control", deadline);
    if (!next.ok()) return answer;
    client_ = std::move(*next);
    answer = outcome_of_reload(args, begun, deadline);
  }
  return answer;
}

// Asking for the reload again would be one more. What became of the one that was asked for is in the history
// of each service, which outlives heads.
Result<Answer> Session::outcome_of_reload(const Json& args, Time begun, Time deadline) {
  Json names = args.value("services", Json::array());
  if (names.empty()) {
    auto status = client_.call("status", Json::object(), deadline);
    if (!status.ok() || !status->ok) return status;
    for (const Json& service : status->value.value("services", Json::array())) {
      if (control::text_of(service, "state") != "stopped") names.push_back(control::text_of(service, "name"));
    }
  }
  for (const Json& name : names) {
    for (;;) {
      auto why = client_.call("why", Json{{"service", name}}, deadline);
      if (!why.ok() || !why->ok) return why;
      if (auto end = end_of_reload(why->value, begun)) {
        if (!end->ok) return *end;
        break;
      }
      if (control::deadline_after(Duration::zero()) >= deadline)
        return Error{"no answer in time", {}, {}, ETIMEDOUT};
      std::this_thread::sleep_for(kReloadAsked);
    }
  }
  return Answer{true, nullptr, {}, {}, {}};
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
                             const Json& args, int& exit, std::string* runtime) {
  auto session = Session::open(options, terminal, exit);
  if (!session) return std::nullopt;
  if (runtime != nullptr) *runtime = session->runtime();
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
  const bool follows = options.command == "reload" && !options.no_wait;
  exit = exit_of(follows ? session->reload(args, options.deadline())
                         : session->ask(options.command, args, options.deadline(), again),
                 terminal);
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
