#include "config/dev.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/env_file.hpp"
#include "config/address.hpp"
#include "config/read_file.hpp"
#include "config/runner_words.hpp"
#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"
#include "config/words.hpp"

namespace runmain::config {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr bool kPtyInDev = true;  // one place to say that children of `dev` get a terminal of their own

std::string absolute(const std::string& folder, const std::string& path) {
  std::string text = (fs::path(folder) / path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::status(path, ignored));
}

class DevReader {
 public:
  DevReader(const DevOptions& options, const Runner& runner) : options_(options), runner_(runner) {}

  DevOutcome read() {
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

 private:
  void fault(const std::string& flag, const std::string& message, std::string hint = {}) {
    faults_.push_back(Error{flag + ": " + message, {}, std::move(hint)});
  }
  void fault(const std::string& flag, const Error& error) { fault(flag, error.message, error.hint); }

  // A program that ends with 0 is done until the next save; one that fails before it was ready waits for it.
  void defaults() {
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

  void read_command() {
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

  void read_sockets() {
    if (!options_.listen.empty() && !options_.port.empty())
      fault("--port", "excludes --listen",
            "--listen: runmain holds the socket; --port: the program binds by itself");
    read_port();
    const bool given = !options_.listen.empty();
    if (given && !runner_.name.empty() && !runner_.takes_socket && options_.port.empty())
      fault("--listen", runner_.name + " binds by itself and takes no socket",
            "say --port, or with --no-runner it gets LISTEN_FDS anyway");
    if (options_.listen.size() > kListenMax)
      return fault("--listen", "more than " + std::to_string(kListenMax) + " addresses", "leave some out");
    for (const std::string& text : options_.listen) add_listener("--listen", text);
    if (!given && !runner_.listen.empty()) add_listener(runner_.name, runner_.listen);
    if (given || !runner_.listen.empty()) {
      spec_.port.reset();
    } else if (runner_.port && !spec_.port) {
      spec_.port = runner_.port;
    }
    // What binds by itself cannot be there twice; of what binds nothing that is known, nobody can say.
    spec_.overlap = !options_.no_overlap && !spec_.listen.empty();
  }

  void read_port() {
    if (options_.port.empty()) return;
    const auto number = port_number(options_.port);
    if (options_.port == "auto") {
      spec_.port = 0;
    } else if (number) {
      spec_.port = *number;
    } else {
      fault("--port", quote(options_.port) + " is no port", "1 to 65535, or auto");
    }
  }

  void add_listener(const std::string& flag, const std::string& text) {
    auto listen = parse_address(text, options_.folder);
    if (!listen) return fault(flag, listen.error());
    const std::string folder = fs::path(listen->path).parent_path().string();
    if (listen->kind == core::AddressKind::unix_path && !is_there(folder))
      return fault(flag, quote_path(folder) + ": no such folder", "create it, or correct the path");
    listen->name = spec_.name;
    listen->at = flag;
    const bool twice = std::any_of(spec_.listen.begin(), spec_.listen.end(),
                                   [&](const core::ListenSpec& l) { return l.text == listen->text; });
    if (twice) return fault(flag, quote(text) + " is there twice");
    spec_.listen.push_back(std::move(*listen));
  }

  void read_workers() {
    if (options_.workers.empty()) return;
    std::uint32_t number = 0;
    const std::string& text = options_.workers;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 1 || number > kWorkersMax)
      return fault("--workers", quote(text) + " is no number of workers",
                   "1 to " + std::to_string(kWorkersMax));
    spec_.workers = number;
    if (number > 1 && spec_.port && *spec_.port != 0)
      fault("--workers",
            std::to_string(number) + " workers would bind port " + std::to_string(*spec_.port) + " each",
            "say --port auto, and each gets its own {port}");
  }

  void read_watch() {
    core::WatchSpec& watch = *spec_.watch;
    for (const std::string& path : options_.watch) {
      watch.paths.push_back(absolute(options_.folder, path));
      if (!is_there(watch.paths.back()))
        fault("--watch", quote_path(path) + ": no such file or folder", "create it, or correct the path");
    }
    if (watch.paths.empty()) watch.paths.push_back(options_.folder);
    watch.ignore = runner_.ignore;
    for (const std::string& glob : options_.ignore) {
      if (glob.empty()) fault("--ignore", "the glob is empty");
      watch.ignore.push_back(glob);
    }
    watch.poll = options_.poll;
    read_extensions();
    if (watch.include.empty() && options_.watch.empty()) watch.include = runner_.include;
    read_duration("--settle", options_.settle, watch.settle);
    watch.settle_max = std::max(watch.settle_max, watch.settle);
  }

  // "py,html" or ".py,.html".
  void read_extensions() {
    if (options_.ext.empty()) return;
    std::string rest = options_.ext + ",";
    while (!rest.empty()) {
      std::string one = rest.substr(0, rest.find(','));
      rest.erase(0, one.size() + 1);
      if (one.substr(0, 1) == ".") one.erase(0, 1);
      if (one.empty() || one.find_first_of("*?[]{}/ ") != std::string::npos)
        return fault("--ext", quote(options_.ext) + " is no list of extensions", "such as py,html");
      spec_.watch->include.push_back("*." + one);
    }
  }

  void read_duration(const std::string& flag, const std::string& text, Duration& into) {
    if (text.empty()) return;
    const auto parsed = parse_duration(text);
    if (parsed) into = *parsed;
    if (!parsed) fault(flag, parsed.error());
  }

  void read_on_change() {
    const std::string& text = options_.on_change;
    core::WatchSpec& watch = *spec_.watch;
    if (text.empty() || text == "restart") return;
    if (text == "queue" || text == "ignore") {
      watch.on_change = text == "queue" ? core::OnChange::queue : core::OnChange::ignore;
      return;
    }
    const auto signal = parse_signal(text);
    if (!signal)
      return fault("--on-change", quote(text) + " is neither restart, queue, ignore nor a signal",
                   did_you_mean(text, {"restart", "queue", "ignore", "HUP", "USR1", "USR2"}));
    watch.on_change = core::OnChange::signal;
    watch.signal = *signal;
    if (!options_.build.empty())
      fault("--on-change", "a signal excludes --build", "let the signal's handler build, or restart");
  }

  void read_build() {
    if (options_.build.empty()) return;
    const Words words = split_words(options_.build);
    if (words.fault) return fault("--build", words.fault->message, words.fault->hint);
    for (const ShellSign& sign : words.signs) {
      if (sign.is_operator)
        return fault("--build", quote(sign.text) + " needs a shell",
                     "write --build \"sh -c '…'\", or quote it");
    }
    if (words.words.empty() || words.words[0].empty()) return fault("--build", "it is empty");
    spec_.watch->build = core::CommandSpec{words.words, false};
  }

  void read_stop() {
    read_duration("--stop-timeout", options_.stop_timeout, spec_.stop.timeout);
    if (options_.signal.empty()) return;
    const auto signal = parse_signal(options_.signal);
    if (signal) spec_.stop.signal = *signal;
    if (!signal) fault("--signal", signal.error());
  }

  void read_ready() {
    const std::string& text = options_.ready;
    if (text.empty()) return;
    core::ReadySpec& ready = spec_.ready;
    const std::string kind = text.substr(0, text.find(':'));
    const std::string value = kind.size() < text.size() ? text.substr(kind.size() + 1) : std::string();
    if (kind == "http" && !value.empty() && value[0] == '/' &&
        value.find_first_of(" \t\r\n") == std::string::npos) {
      ready.kind = core::ReadyKind::http;
      ready.path = value;
    } else if (kind == "tcp") {
      ready.kind = core::ReadyKind::tcp;
      if (!value.empty()) read_probe(value);
    } else if (text == "notify") {
      ready.kind = core::ReadyKind::notify;
    } else if (kind == "after") {
      ready.kind = core::ReadyKind::after;
      read_duration("--ready", value.empty() ? "?" : value, ready.after);
      ready.timeout += ready.after;
    } else {
      return fault("--ready", quote(text) + " is no way to tell",
                   "http:/health, tcp, tcp:HOST:PORT, notify or after:500ms");
    }
    const bool probes = ready.kind == core::ReadyKind::http || ready.kind == core::ReadyKind::tcp;
    const bool asks_ours = probes && (kind == "http" || value.empty());
    if (asks_ours && spec_.listen.empty() && !spec_.port && options_.listen.empty() && options_.port.empty())
      fault("--ready", "there is no address to ask", "say --listen or --port");
  }

  void read_probe(const std::string& text) {
    const auto parsed = parse_address(text, options_.folder);
    if (!parsed) return fault("--ready", parsed.error());
    if (parsed->kind != core::AddressKind::tcp || parsed->port == 0)
      return fault("--ready", quote(text) + " cannot be asked",
                   "write tcp:HOST:PORT with a port that is not 0");
    const std::string host = parsed->host.empty() ? "127.0.0.1" : parsed->host;
    const bool v6 = host.find(':') != std::string::npos;
    spec_.ready.address = (v6 ? "[" + host + "]" : host) + ":" + std::to_string(parsed->port);
  }

  void read_env_files() {
    for (const std::string& file : options_.env_file) {
      const std::string path = absolute(options_.folder, file);
      const auto text = read_file(path, kEnvFileMax);
      if (!text) {
        fault("--env-file", quote_path(file) + ": " + text.error().message, "create it, or correct the path");
        continue;
      }
      for (const Error& wrong : parse_env_file(*text, file).faults) fault("--env-file", wrong.text());
      spec_.env_files.push_back(path);
    }
  }

  void check_placeholders() {
    for (const std::string& word : options_.command) {
      const bool fd = word.find("{fd}") != std::string::npos || word.find("{fd:") != std::string::npos;
      if (fd && spec_.listen.empty() && options_.listen.empty())
        return fault("COMMAND", quote(word) + " needs a socket", "say --listen 127.0.0.1:8000");
      if (word.find("{port}") != std::string::npos && options_.port.empty() && !spec_.port)
        return fault("COMMAND", quote(word) + " needs a port", "say --port auto, or a number");
    }
  }

  std::string line() const {
    std::vector<std::string> listen;
    for (const core::ListenSpec& l : spec_.listen) listen.push_back(l.text);
    return describe(runner_, spec_.name, listen, spec_.port);
  }

  const DevOptions& options_;
  const Runner& runner_;
  core::ServiceSpec spec_;
  std::vector<Error> faults_;
};

}  // namespace

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
