#include "config/runner_where.hpp"

#include <algorithm>
#include <optional>

namespace runmain::config {
namespace {

std::string variable(const RunnerFacts& facts, std::string_view name) {
  for (const auto& [known, value] : facts.env) {
    if (known == name) return value;
  }
  return {};
}

// "HOST:PORT", "PORT", "[::1]:PORT"; what is missing stays as it was.
void take_bind(const std::string& text, Where& where) {
  if (text.substr(0, 5) == "unix:") {
    where.whole = text;
  } else if (is_number(text)) {
    where.port = text;
  } else if (const std::size_t colon = text.rfind(':'); colon != std::string::npos) {
    where.port = text.substr(colon + 1);
    if (colon > 0) where.host = text.substr(0, colon);
  } else {
    where.host = text;
  }
}

constexpr std::string_view kComputed = "…";

// What `name = …` says in a file of Python, the last time on a line of its own: a literal's text, or
// kComputed.
std::optional<std::string> setting(const std::string& file, std::string_view name) {
  std::optional<std::string> found;
  for (std::size_t at = 0; at < file.size();) {
    const std::size_t end = std::min(file.find('\n', at), file.size());
    std::string line = file.substr(at, end - at);
    at = end + 1;
    if (line.compare(0, name.size(), name) != 0) continue;
    line.erase(0, name.size());
    const std::size_t equals = line.find_first_not_of(" \t");
    if (equals == std::string::npos || line[equals] != '=') continue;
    const std::size_t begin = line.find_first_not_of(" \t", equals + 1);
    std::string value =
        begin == std::string::npos ? std::string() : line.substr(begin, line.find('#') - begin);
    value.erase(value.find_last_not_of(" \t\r") + 1);
    const bool quoted = value.size() >= 2 && (value[0] == '"' || value[0] == '\'') &&
                        value.back() == value[0] && value.find(value[0], 1) == value.size() - 1;
    found = quoted ? value.substr(1, value.size() - 2) : is_number(value) ? value : std::string(kComputed);
  }
  return found;
}

// The word behind `runserver`, or behind the module http.server, that says where to listen.
std::size_t positional(const Argv& argv, const Row& row, std::size_t at) {
  const bool django = row.sub == "runserver";
  if (!django && row.name != "http.server") return 0;
  std::size_t i = at + 1;
  if (django) i = static_cast<std::size_t>(std::find(argv.begin(), argv.end(), row.sub) - argv.begin()) + 1;
  for (; i < argv.size(); ++i) {
    if (argv[i][0] == '-') continue;
    const std::size_t colon = argv[i].rfind(':');
    return is_number(std::string_view(argv[i]).substr(colon == std::string::npos ? 0 : colon + 1)) ? i : 0;
  }
  return 0;
}

}  // namespace

bool is_computed(const Row& row, const RunnerFacts& facts) {
  return row.name == "gunicorn" && setting(facts.settings, "bind") == kComputed;
}

Where where_of(const Argv& argv, const Row& row, const Program& program, const RunnerFacts& facts) {
  Where where{std::string(row.host), row.port == 0 ? "" : std::to_string(row.port), {}};
  if (const std::string host = variable(facts, row.host_env); !host.empty()) where.host = host;
  if (const std::string port = variable(facts, row.port_env); is_number(port)) {
    where.port = port;
    if (row.name == "gunicorn") where.host = "0.0.0.0";  // its own default with PORT
  }
  if (row.name == "gunicorn") {
    if (const auto bind = setting(facts.settings, "bind"); bind && *bind != kComputed)
      take_bind(*bind, where);
  }
  const std::size_t from = program.at + 1;
  if (auto host = flag_value(argv, from, argv.size(), row.host_flags)) where.host = *host;
  if (auto port = flag_value(argv, from, argv.size(), row.port_flags)) where.port = *port;
  if (auto bind = flag_value(argv, from, argv.size(), row.bind_flags)) take_bind(*bind, where);
  if (const std::size_t i = positional(argv, row, program.at); i != 0) take_bind(argv[i], where);
  return where;
}

std::string address_of(const Where& where) {
  if (!where.whole.empty()) return where.whole;
  if (where.port.empty()) return {};
  const bool v6 = where.host.find(':') != std::string::npos && where.host[0] != '[';
  return (v6 ? "[" + where.host + "]" : where.host) + ":" + where.port;
}

std::string own_workers_of(const Argv& argv, const Row& row, const Program& program,
                           const RunnerFacts& facts) {
  const auto many = [](const std::string& number) {
    return is_number(number) && number != "0" && number != "1";
  };
  if (const auto given = flag_value(argv, program.at + 1, argv.size(), row.worker_flags))
    return many(*given) ? std::string(words_of(row.worker_flags).back()) + " " + *given : std::string();
  if (row.name == "gunicorn") {
    const auto set = setting(facts.settings, "workers");
    if (set && (*set == kComputed || many(*set))) return "its file of settings (workers = " + *set + ")";
    if (set) return {};
  }
  const std::string number = row.worker_env.empty() ? std::string() : variable(facts, row.worker_env);
  return many(number) ? std::string(row.worker_env) + "=" + number : std::string();
}

void tell_port(const Row& row, const Program& program, const Where& where, Runner& runner) {
  const std::size_t from = program.at + 1;
  const std::string host = where.host.empty() ? "127.0.0.1" : where.host;
  if (const std::size_t i = positional(runner.argv, row, program.at); i != 0) {
    runner.argv[i] = host + ":{port}";
    if (row.name == "http.server") runner.argv[i] = "{port}";
  } else if (row.sub == "runserver" || row.name == "http.server") {
    runner.argv.emplace_back("{port}");
  } else if (!row.port_flags.empty()) {
    drop_valued_flags(runner.argv, from, runner.argv.size(), row.port_flags);
    runner.argv.insert(runner.argv.end(), {std::string(words_of(row.port_flags).back()), "{port}"});
  } else if (row.name == "php") {
    drop_valued_flags(runner.argv, from, end_of_own_words(runner.argv, from), row.bind_flags);
    const auto at = runner.argv.begin() + static_cast<std::ptrdiff_t>(from);
    runner.argv.insert(at, {"-S", host + ":{port}"});
  } else if (!row.bind_flags.empty()) {
    drop_valued_flags(runner.argv, from, runner.argv.size(), row.bind_flags);
    runner.argv.insert(runner.argv.end(), {std::string(words_of(row.bind_flags).back()), host + ":{port}"});
  }
}

}  // namespace runmain::config
