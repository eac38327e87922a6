// Flags: where the program listens.
#include <algorithm>
#include <filesystem>

#include "config/address.hpp"
#include "config/flag_reader.hpp"
#include "config/runner_words.hpp"
#include "config/service_reader.hpp"
#include "config/text.hpp"

namespace runmain::config {

void FlagReader::read_sockets() {
  if (!options_.listen.empty() && !options_.port.empty())
    fault("--port", "excludes --listen",
          "--listen: runmain holds the socket; --port: the program binds by itself");
  read_port();
  const bool given = !options_.listen.empty();
  if (options_.adopt) {
    read_adopt();
  } else if (given && !runner_.name.empty() && !runner_.takes_socket && options_.port.empty()) {
    fault("--listen", runner_.name + " binds by itself and takes no socket",
          "say --adopt, or --port, or with --no-runner it gets LISTEN_FDS anyway");
  }
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

void FlagReader::read_adopt() {
  spec_.adopt = true;
  if (!options_.port.empty())
    fault("--adopt", "excludes --port", "say with --listen what the program binds: {port} and PORT tell it");
  if (options_.listen.empty() && runner_.listen.empty())
    fault("--adopt", "needs --listen", "such as --listen 127.0.0.1:8000, the address that the program binds");
}

void FlagReader::read_port() {
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

void FlagReader::add_listener(const std::string& flag, const std::string& text) {
  auto listen = parse_address(text, options_.folder);
  if (!listen) return fault(flag, listen.error());
  const std::string folder = std::filesystem::path(listen->path).parent_path().string();
  if (listen->kind == core::AddressKind::unix_path && !is_there(folder))
    return fault(flag, quote_path(folder) + ": no such folder", "create it, or correct the path");
  listen->name = spec_.name;
  listen->at = flag;
  const bool twice = std::any_of(spec_.listen.begin(), spec_.listen.end(),
                                 [&](const core::ListenSpec& l) { return l.text == listen->text; });
  if (twice) return fault(flag, quote(text) + " is there twice");
  const bool is_unix =
      listen->kind == core::AddressKind::unix_path || listen->kind == core::AddressKind::unix_abstract;
  if (options_.adopt && is_unix)
    return fault(flag, "--adopt is for TCP and UDP",
                 "programs remove the file of a unix socket before they bind it: give it by {fd}");
  spec_.listen.push_back(std::move(*listen));
}

void FlagReader::check_placeholders() {
  for (const std::string& word : options_.command) {
    const bool fd = word.find("{fd}") != std::string::npos || word.find("{fd:") != std::string::npos;
    if (fd && spec_.listen.empty() && options_.listen.empty())
      return fault("COMMAND", quote(word) + " needs a socket", "say --listen 127.0.0.1:8000");
    if (word.find("{port}") != std::string::npos && options_.port.empty() && !spec_.port && !spec_.adopt)
      return fault("COMMAND", quote(word) + " needs a port", "say --port auto, or a number");
  }
}

}  // namespace runmain::config
