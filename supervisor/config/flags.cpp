#include "config/flags.hpp"

#include <filesystem>

#include "config/flag_reader.hpp"
#include "config/runner_words.hpp"
#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"

namespace runmain::config {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kServeBurst = 10;  // deaths in a row that give a slot up
constexpr Duration kServeStopped = std::chrono::milliseconds(500);
constexpr bool kPtyInDev = true;  // one place to say that children of `dev` get a terminal of their own

}  // namespace

std::string absolute_path(const std::string& folder, const std::string& path) {
  std::string text = (fs::path(folder) / path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::status(path, ignored));
}

FlagOutcome FlagReader::read() {
  defaults();
  read_command();
  read_sockets();
  read_workers();
  read_balance();
  read_roll();
  read_recycle();
  if (spec_.watch) {
    read_watch();
    read_on_change();
    read_build();
  }
  read_stop();
  read_ready();
  read_health();
  read_env_files();
  check_placeholders();
  if (!faults_.empty()) return std::move(faults_);
  FromFlags made;
  made.line = line();
  made.desired.mode = serves() ? core::Mode::prod : core::Mode::dev;
  made.desired.file = options_.folder;
  made.desired.clear = options_.clear;
  made.desired.services.push_back(std::move(spec_));
  return made;
}

void FlagReader::fault(const std::string& flag, const std::string& message, std::string hint) {
  faults_.push_back(Error{flag + ": " + message, {}, std::move(hint)});
}

void FlagReader::defaults() {
  spec_.name = options_.name.empty() ? name_of_command(options_.command) : options_.name;
  spec_.at = serves() ? "serve" : "dev";
  spec_.cwd = options_.folder;
  spec_.command.argv = runner_.argv;
  spec_.env = runner_.env;
  spec_.stop.group = !runner_.stop_main;
  spec_.telemetry.automatic = options_.automatic;
  spec_.die_with_keeper = !serves();
  serves() ? defaults_of_serve() : defaults_of_dev();
}

// A program that ends with 0 is done until the next save; one that fails before it was ready waits for it.
void FlagReader::defaults_of_dev() {
  spec_.restart = options_.exit_on_error ? core::RestartPolicy::never : core::RestartPolicy::on_failure;
  spec_.await_change = !options_.exit_on_error;
  spec_.browser = options_.browser;
  spec_.end_on_failure = options_.exit_on_error;
  spec_.pty = kPtyInDev && options_.terminal;
  spec_.watch.emplace();
}

// A worker that ends is replaced, whatever its status; a slot that cannot keep one is given up, and runmain
// ends when all are.
void FlagReader::defaults_of_serve() {
  spec_.restart = core::RestartPolicy::always;
  spec_.backoff.burst = kServeBurst;
  spec_.end_on_failure = true;
  spec_.hang.stopped = kServeStopped;
  spec_.stop.lingering = kLingeringDefault;
}

void FlagReader::read_command() {
  if (!is_name(spec_.name))
    fault("--name", quote(spec_.name) + " is not usable",
          "letters, digits, _, . and -, at most " + std::to_string(kNameMax) + ", a letter or digit first");
  if (options_.command.empty() || options_.command[0].empty()) {
    fault("COMMAND", "nothing to run",
          serves() ? "such as `runmain serve -- gunicorn app:app`" : "such as `runmain dev -- flask run`");
    return;
  }
  for (const std::string& word : runner_.argv) {
    if (word.size() > kArgumentMax)
      fault("COMMAND", "an argument is longer than " + std::to_string(kArgumentMax) + " bytes",
            "the kernel takes no longer one");
  }
}

void FlagReader::read_duration(const std::string& flag, const std::string& text, Duration& into) {
  if (text.empty()) return;
  const auto parsed = parse_duration(text);
  if (parsed) into = *parsed;
  if (!parsed) fault(flag, parsed.error());
}

std::string FlagReader::line() const {
  Described chosen{spec_.name, {}, spec_.port, !serves()};
  for (const core::ListenSpec& l : spec_.listen) chosen.listen.push_back(l.text);
  std::string text = describe(runner_, chosen);
  if (!serves()) return text;
  std::string count = std::to_string(spec_.workers);
  if (spec_.workers_max > spec_.workers) count += " to " + std::to_string(spec_.workers_max);
  if (spec_.workers_auto) count = "a worker for each CPU";
  if (!spec_.workers_auto) count += count == "1" ? " worker" : " workers";
  text += ", " + count;
  if (!runner_.own_workers.empty())
    text += ", each with processes of its own by " + runner_.own_workers + ": one kind of workers is enough";
  return text;
}

RunnerAsked asked_of(const Flags& options) {
  RunnerAsked asked;
  asked.listen = !options.listen.empty();
  asked.adopt = options.adopt;
  if (options.port == "auto") {
    asked.port = 0;
  } else if (const auto port = port_number(options.port)) {
    asked.port = *port;
  }
  return asked;
}

FlagOutcome from_flags(const Flags& options, const Runner& runner) {
  return FlagReader(options, runner).read();
}

}  // namespace runmain::config
