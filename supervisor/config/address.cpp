#include "config/address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>

#include "config/text.hpp"

namespace runmain::config {
namespace {

using core::AddressKind;
using core::ListenSpec;

constexpr const char* kShape =
    "write \"HOST:PORT\", such as \"127.0.0.1:8000\", or \":8000\" for every address";

bool all_of(std::string_view text, std::string_view set) {
  return text.find_first_not_of(set) == std::string_view::npos;
}
constexpr std::string_view kDigits = "0123456789";

// The canonical form of a numeric address, or empty.
std::string canonical(int family, std::string_view host) {
  unsigned char bytes[sizeof(in6_addr)];
  char text[INET6_ADDRSTRLEN];
  if (inet_pton(family, std::string(host).c_str(), bytes) != 1) return {};
  return inet_ntop(family, bytes, text, sizeof text) == nullptr ? std::string() : std::string(text);
}

Result<std::uint16_t> parse_port(std::string_view whole, std::string_view text) {
  const std::string in = " in " + quote(whole);
  if (text.empty()) return Error{"no port after the colon" + in, {}, kShape};
  if (!all_of(text, kDigits))
    return Error{"port " + quote(text) + in + " is not a number", {}, "write the number"};
  unsigned port = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (fault != std::errc() || port > 65535) {
    return Error{"port " + std::string(text.substr(0, 20)) + in + " is above 65535",
                 {},
                 "ports go from 1 to 65535; 0 lets the kernel choose"};
  }
  return static_cast<std::uint16_t>(port);
}

Result<std::string> parse_host(std::string_view whole, std::string_view host) {
  if (host.empty()) return std::string();
  if (host == "localhost") return std::string("127.0.0.1");
  if (host == "*") return Error{"\"*\" is not an address", {}, "write \":PORT\" for every address"};
  if (std::string v4 = canonical(AF_INET, host); !v4.empty()) return v4;
  if (all_of(host, "0123456789.")) {
    return Error{
        quote(host) + " is not an IPv4 address", {}, "four numbers from 0 to 255, such as 127.0.0.1"};
  }
  if (host.find('/') != std::string_view::npos) return Error{quote(whole) + " is not an address", {}, kShape};
  return Error{
      quote(host) + " is a name, not an address", {}, "write its number; only \"localhost\" is known here"};
}

// HOST:PORT into host and port of `out`.
Result<void> parse_host_port(std::string_view whole, std::string_view text, ListenSpec& out) {
  std::string_view port;
  if (!text.empty() && text[0] == '[') {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) {
      return Error{"the [ in " + quote(whole) + " is never closed", {}, "write \"[::1]:8000\""};
    }
    const std::string_view host = text.substr(1, close - 1);
    out.host = canonical(AF_INET6, host);
    if (out.host.empty()) return Error{quote(host) + " is not an IPv6 address", {}, "such as \"[::1]:8000\""};
    if (close + 1 >= text.size() || text[close + 1] != ':') {
      return Error{"no port in " + quote(whole), {}, "write \"[" + out.host + "]:8000\""};
    }
    port = text.substr(close + 2);
  } else {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) {
      const bool number = !text.empty() && all_of(text, kDigits);
      return Error{"no port in " + quote(whole),
                   {},
                   number
                       ? "write \":" + std::string(text.substr(0, 20)) +
                             "\" for every address, or \"127.0.0.1:" + std::string(text.substr(0, 20)) + "\""
                       : kShape};
    }
    if (text.find(':') != colon &&
        text.substr(0, colon).find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos) {
      return Error{quote(whole) + " is unclear", {}, "an IPv6 address needs brackets: \"[::1]:8000\""};
    }
    auto host = parse_host(whole, text.substr(0, colon));
    if (!host) return host.error();
    out.host = std::move(*host);
    port = text.substr(colon + 1);
  }
  auto number = parse_port(whole, port);
  if (!number) return number.error();
  out.port = *number;
  return {};
}

Result<void> parse_unix(std::string_view whole, std::string_view path, const std::string& folder,
                        ListenSpec& out) {
  if (path.empty() || path == "@")
    return Error{"no path in " + quote(whole), {}, "write \"unix:/run/web.sock\" or \"unix:@name\""};
  if (path[0] == '@') {
    out.kind = AddressKind::unix_abstract;
    out.path = path.substr(1);
  } else {
    out.kind = AddressKind::unix_path;
    out.path = (std::filesystem::path(folder) / path).lexically_normal().string();
    if (out.path.back() == '/') return Error{quote(whole) + " names a folder", {}, "add the socket's name"};
  }
  if (out.path.size() > kUnixPathMax) {
    return Error{"the socket's path is " + std::to_string(out.path.size()) + " bytes long, " +
                     std::to_string(kUnixPathMax) + " are the limit",
                 {},
                 "choose a shorter folder, such as /run, or an abstract name: \"unix:@name\""};
  }
  return {};
}

// Something else than an address that people write here, with what they meant.
std::optional<Error> familiar_mistake(std::string_view text) {
  if (text.empty()) return Error{"the address is empty", {}, kShape};
  if (text[0] == '/' || text.substr(0, 2) == "./" || text[0] == '@') {
    return Error{quote(text) + " is not an address",
                 {},
                 "a unix socket is written " + quote("unix:" + std::string(text))};
  }
  const std::size_t scheme = text.find("://");
  if (scheme != std::string_view::npos) {
    return Error{quote(text) + " is a URL, not an address", {}, kShape};
  }
  return std::nullopt;
}

using Hosts = std::map<std::string, const Bound*>;

// The listener among those of one protocol and port that stands in the way of `host`.
const Bound* blocking(const Hosts& hosts, const std::string& host) {
  if (hosts.empty()) return nullptr;
  if (host.empty()) return hosts.begin()->second;
  const auto v6 = [](const std::string& h) { return h.find(':') != std::string::npos; };
  const std::string any = v6(host) ? "::" : "0.0.0.0";
  for (const std::string& wide : {host, std::string(), any}) {
    if (const auto found = hosts.find(wide); found != hosts.end()) return found->second;
  }
  if (host != any) return nullptr;
  for (const auto& [other, bound] : hosts) {
    if (v6(other) == v6(host)) return bound;
  }
  return nullptr;
}

}  // namespace

Result<ListenSpec> parse_address(std::string_view text, const std::string& folder) {
  ListenSpec out;
  out.text = text;
  if (auto mistake = familiar_mistake(text)) return *mistake;
  Result<void> parsed;
  if (text.substr(0, 5) == "unix:") {
    parsed = parse_unix(text, text.substr(5), folder, out);
  } else if (text.substr(0, 4) == "udp:") {
    out.kind = AddressKind::udp;
    parsed = parse_host_port(text, text.substr(4), out);
  } else {
    parsed = parse_host_port(text, text, out);
  }
  if (!parsed) return parsed.error();
  return out;
}

std::vector<Collision> collisions(const std::vector<Bound>& all) {
  std::map<std::pair<AddressKind, std::string>, Hosts> taken;  // by protocol, and port or path
  std::vector<Collision> out;
  for (const Bound& bound : all) {
    const ListenSpec& listen = *bound.listen;
    const bool is_unix = listen.kind == AddressKind::unix_path || listen.kind == AddressKind::unix_abstract;
    if (!is_unix && listen.port == 0) continue;
    Hosts& hosts = taken[{listen.kind, is_unix ? listen.path : std::to_string(listen.port)}];
    if (const Bound* first = blocking(hosts, listen.host)) {
      out.push_back(Collision{first, &bound});
    } else {
      hosts.emplace(listen.host, &bound);
    }
  }
  return out;
}

}  // namespace runmain::config
