#include "cli/program_facts.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "os/linux/fd.hpp"

namespace runmain::cli {
namespace {

std::string text_of_file(const std::string& folder, const std::string& name) {
  if (name.empty()) return {};
  const auto text = os::read_file(name[0] == '/' ? name : folder + "/" + name, kFactsFileMax);
  return text.ok() ? *text : std::string();
}

// Where execvp(3) would find it; empty: nowhere.
std::string found_in_path(const std::string& folder, const std::string& name) {
  if (name.find('/') != std::string::npos) return name[0] == '/' ? name : folder + "/" + name;
  const char* path = getenv("PATH");
  std::string rest = path == nullptr ? std::string() : std::string(path) + ":";
  while (!rest.empty()) {
    const std::string at = rest.substr(0, rest.find(':'));
    rest.erase(0, at.size() + 1);
    std::string file = (at.empty() ? folder : at[0] == '/' ? at : folder + "/" + at) + "/" + name;
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

Result<void> try_bind(const sockaddr* address, socklen_t size) {
  const os::UniqueFd fd(socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno("socket", errno);
  const int on = 1;
  const int off = 0;
  // A connection that has just ended is no obstacle; a listener is one all the same.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address->sa_family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd.get(), address, size) != 0) return Error::from_errno("bind", errno);
  return {};
}

Result<void> try_v6(const std::string& host, std::uint16_t port) {
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  if (!host.empty() && inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) != 1) return {};
  return try_bind(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
}

}  // namespace

config::RunnerFacts gather_facts(const std::vector<std::string>& argv, const std::string& folder) {
  config::RunnerFacts facts;
  for (char** line = environ; *line != nullptr; ++line) {
    const std::string text = *line;
    const std::size_t equals = text.find('=');
    if (equals != std::string::npos) facts.env.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  facts.script = text_of_file(folder, config::script_of(argv));
  if (const std::string file = config::settings_of(argv); !file.empty())
    facts.settings = text_of_file(folder, file);
  if (const std::string word = config::console_script_of(argv); !word.empty()) {
    facts.program = found_in_path(folder, word);
    facts.interpreter = config::interpreter_of(text_of_file(folder, facts.program));
    const std::string python = facts.program.substr(0, facts.program.rfind('/') + 1) + "python3";
    facts.is_shim = facts.interpreter.empty() && access(python.c_str(), X_OK) == 0;
    if (facts.is_shim) facts.interpreter = {python};
  }
  const std::string package = text_of_file(folder, "package.json");
  if (const std::string name = config::package_script_of(argv); !name.empty())
    facts.package_script = script_in_package(package, name);
  facts.has_nodemon_file = access((folder + "/nodemon.json").c_str(), F_OK) == 0 ||
                           package.find("\"nodemonConfig\"") != std::string::npos;
  return facts;
}

std::string script_in_package(const std::string& json, const std::string& name) {
  const auto package = nlohmann::json::parse(json, nullptr, false);
  if (!package.is_object()) return {};
  const auto scripts = package.find("scripts");
  if (scripts == package.end() || !scripts->is_object()) return {};
  const auto script = scripts->find(name);
  return script != scripts->end() && script->is_string() ? script->get<std::string>() : std::string();
}

Result<void> check_port(const std::string& host, std::uint16_t port) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  const bool is_v4 = !host.empty() && inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1;
  if (is_v4) return try_bind(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  const auto both = try_v6(host, port);
  const bool no_v6 = !both && (both.error().code == EAFNOSUPPORT || both.error().code == EADDRNOTAVAIL);
  if (!host.empty() || !no_v6) return both;
  return try_bind(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
}

}  // namespace runmain::cli
