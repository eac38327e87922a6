#include "config/dev.hpp"

#include <filesystem>

#include "config/dev_reader.hpp"
#include "config/runner_words.hpp"
#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"

namespace runmain::config {
namespace {

namespace fs = std::filesystem;

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

DevOutcome DevReader::read() {
  defaults();
  read_command();
  read_sockets();
  read_workers();
  read_watch();
  read_on_change();
  read_build();
  read_stop();
  read_ready();
  read_env_files();
  check_placeholders();
  if (!faults_.empty()) return std::move(faults_);
  Dev dev;
  dev.line = line();
  dev.desired.mode = core::Mode::dev;
  dev.desired.file = options_.folder;
  dev.desired.clear = options_.clear;
  dev.desired.services.push_back(std::move(spec_));
  return dev;
}

void DevReader::fault(const std::string& flag, const std::string& message, std::string hint) {
  faults_.push_back(Error{flag + ": " + message, {}, std::move(hint)});
}

// A program that ends with 0 is done until the next save; one that fails before it was ready waits for it.
void DevReader::defaults() {
  spec_.name = options_.name.empty() ? name_of_command(options_.command) : options_.name;
  spec_.at = "dev";
  spec_.cwd = options_.folder;
  spec_.restart = options_.exit_on_error ? core::RestartPolicy::never : core::RestartPolicy::on_failure;
  spec_.await_change = !options_.exit_on_error;
  spec_.browser = options_.browser;
  spec_.end_on_failure = options_.exit_on_error;
  spec_.die_with_keeper = true;
  spec_.pty = kPtyInDev && options_.terminal;
  spec_.command.argv = runner_.argv;
  spec_.env = runner_.env;
  spec_.watch.emplace();
}

void DevReader::read_command() {
  if (!is_name(spec_.name))
    fault("--name", quote(spec_.name) + " is not usable",
          "letters, digits, _, . and -, at most " + std::to_string(kNameMax) + ", a letter or digit first");
  if (options_.command.empty() || options_.command[0].empty()) {
    fault("COMMAND", "nothing to run", "such as `runmain dev -- flask run`");
    return;
  }
  for (const std::string& word : runner_.argv) {
    if (word.size() > kArgumentMax)
      fault("COMMAND", "an argument is longer than " + std::to_string(kArgumentMax) + " bytes",
            "the kernel takes no longer one");
  }
}

void DevReader::read_duration(const std::string& flag, const std::string& text, Duration& into) {
  if (text.empty()) return;
  const auto parsed = parse_duration(text);
  if (parsed) into = *parsed;
  if (!parsed) fault(flag, parsed.error());
}

std::string DevReader::line() const {
  std::vector<std::string> listen;
  for (const core::ListenSpec& l : spec_.listen) listen.push_back(l.text);
  return describe(runner_, spec_.name, listen, spec_.port);
}

RunnerAsked asked_of(const DevOptions& options) {
  RunnerAsked asked;
  asked.listen = !options.listen.empty();
  if (options.port == "auto") {
    asked.port = 0;
  } else if (const auto port = port_number(options.port)) {
    asked.port = *port;
  }
  return asked;
}

DevOutcome make_dev(const DevOptions& options, const Runner& runner) {
  return DevReader(options, runner).read();
}

}  // namespace runmain::config
