#include "config/telemetry_reader.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/host.hpp"
#include "config/table.hpp"
#include "config/text.hpp"

namespace runmain::config {
namespace {

using namespace std::chrono_literals;

constexpr int kGrpcPort = 4317;
constexpr const char* kWriteHttp = "write \"http://HOST:4318\"";
// A request says these by itself.
constexpr std::array<std::string_view, 6> kOwnHeaders{
    "connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// RFC 9110, section 5.6.2: a token.
bool is_header_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_header_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return (c >= 0x20 && c != 0x7f) || c == '\t'; });
}

// 0: none is given. Nothing: it is no port.
std::optional<int> port_of(std::string_view text) {
  if (text.empty()) return 0;
  text.remove_prefix(1);  // the colon
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || port > 65535) return std::nullopt;
    port = port * 10 + (c - '0');
  }
  return port > 0 && port <= 65535 ? std::optional<int>(port) : std::nullopt;
}

class TelemetryReader {
 public:
  TelemetryReader(const Reading& reading, const Node& node, core::TelemetrySpec& out)
      : reading_(reading), table_(reading.report, node, "telemetry."), out_(out) {}

  Place read() {
    table_.read("enabled", out_.enabled);
    read_endpoint();
    read_protocol();
    check_port();
    read_headers();
    read_choice_of("compression", {"gzip", "none"}, out_.compression);
    read_timeout();
    read_file("certificate", out_.certificate);
    read_file("client_certificate", out_.client_certificate);
    read_file("client_key", out_.client_key);
    table_.read("direct", out_.direct);
    table_.read("logs", out_.logs);
    table_.read("auto", out_.automatic);
    table_.refuse_others([](const Node& item) {
      return item.key == "insecure" ? std::string("an endpoint of http:// is without TLS") : std::string();
    });
    for (const char* key : {"direct", "auto"}) {
      if (const Node* node = table_.find(key)) return node->place;
    }
    return {};
  }

 private:
  Report& report() { return reading_.report; }

  void read_endpoint() {
    endpoint_ = table_.find("endpoint");
    std::string text;
    if (endpoint_ == nullptr || !read_string(report(), *endpoint_, "telemetry.endpoint", text)) return;
    const auto port = parse_endpoint(text);
    if (!port)
      return report().fault(endpoint_->place, "telemetry.endpoint: " + port.error().message,
                            port.error().hint);
    port_ = *port;
    out_.endpoint = std::move(text);
  }

  void read_protocol() {
    const Node* node = table_.find("protocol");
    if (node != nullptr && node->kind == Kind::string && node->text == "grpc")
      return report().fault(node->place, "telemetry.protocol cannot be \"grpc\"",
                            "runmain exports \"http/protobuf\", whose port is 4318");
    read_choice_of("protocol", {"http/protobuf", "http/json"}, out_.protocol);
  }

  // Nobody guesses: who means HTTP there says so.
  void check_port() {
    if (port_ != kGrpcPort || !out_.protocol.empty() || table_.find("protocol") != nullptr) return;
    report().fault(endpoint_->place, "telemetry.endpoint: port 4317 is that of gRPC, which is not exported",
                   std::string(kWriteHttp) + ", or add protocol = \"http/protobuf\" if it speaks that there");
  }

  void read_choice_of(const char* key, const std::vector<std::string>& choices, std::string& out) {
    const Node* node = table_.find(key);
    std::size_t choice = 0;
    if (node != nullptr && read_choice(report(), *node, table_.name(key), choices, choice))
      out = choices[choice];
  }

  // The table replaces the file's, so that a key for one place is not sent to another by accident of a name.
  void read_headers() {
    const Node* node = table_.find("headers");
    if (node == nullptr) return;
    if (node->kind != Kind::table)
      return report().wrong_type(*node, "telemetry.headers", "a table such as { \"api-key\" = \"…\" }");
    if (node->items.size() > kHeadersMax)
      return report().fault(node->place, "telemetry.headers has more than " + std::to_string(kHeadersMax));
    out_.headers.clear();
    for (const Node& item : node->items) read_header(item);
  }

  void read_header(const Node& item) {
    const std::string name = "telemetry.headers." + quote(item.key);
    const std::string small = lowered(item.key);
    const auto same = [&](const auto& header) { return lowered(header.first) == small; };
    if (!is_header_name(item.key))
      return report().fault(item.key_place, quote(item.key) + " cannot name a header",
                            "letters, digits and !#$%&'*+-.^_`|~");
    if (std::find(kOwnHeaders.begin(), kOwnHeaders.end(), small) != kOwnHeaders.end())
      return report().fault(item.key_place, name + " is said by each request itself", "leave it out");
    if (std::any_of(out_.headers.begin(), out_.headers.end(), same))
      return report().fault(item.key_place, name + " is there twice",
                            "case does not count in a header's name");
    if (item.kind != Kind::string) return report().wrong_type(item, name, "a string");
    if (!is_header_value(item.text))
      return report().fault(item.place, name + " holds a control character", "no header can carry it");
    if (item.text.size() > kHeaderMax)
      return report().fault(item.place, name + " is longer than " + std::to_string(kHeaderMax) + " bytes");
    out_.headers.emplace_back(item.key, item.text);
  }

  void read_timeout() {
    const Node* node = table_.find("timeout");
    Duration timeout{};
    if (node == nullptr || !read_duration(report(), *node, "telemetry.timeout", timeout)) return;
    if (timeout <= 0s || timeout > kTelemetryTimeoutMax)
      return report().fault(node->place, "telemetry.timeout must be more than 0 and at most 1h");
    out_.timeout = timeout;
  }

  void read_file(const char* key, std::string& out) {
    const Node* node = table_.find(key);
    const std::string name = table_.name(key);
    std::string text;
    if (node == nullptr || !read_string(report(), *node, name, text)) return;
    if (text.empty()) return report().fault(node->place, name + " names no file");
    const std::string path = (std::filesystem::path(reading_.folder) / text).lexically_normal().string();
    if (!reading_.check_host || check_exists(report(), node->place, name, path)) out = path;
  }

  const Reading& reading_;
  Table table_;
  core::TelemetrySpec& out_;
  const Node* endpoint_ = nullptr;
  int port_ = 0;
};

}  // namespace

Result<int> parse_endpoint(std::string_view text) {
  const auto no_url = [&] { return Error{quote(text) + " is no http or https URL", {}, kWriteHttp}; };
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos) return no_url();
  const std::string scheme = lowered(text.substr(0, colon));
  if (scheme == "grpc" || scheme == "grpcs")
    return Error{"gRPC is not exported", {}, std::string(kWriteHttp) + ", OTLP over HTTP"};
  if (scheme != "http" && scheme != "https") return no_url();
  std::string_view rest = text.substr(colon + 3);
  const bool plain = std::all_of(rest.begin(), rest.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  const std::size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, end);
  if (authority.find('@') != std::string_view::npos)
    return Error{"a URL is no place for a password", {}, "write headers = { Authorization = \"…\" }"};
  std::size_t host = authority.find(':');
  if (!authority.empty() && authority[0] == '[') {
    host = authority.find(']');
    host = host == std::string_view::npos || host < 3 ? 0 : host + 1;
    if (host < authority.size() && host != 0 && authority[host] != ':') host = 0;
  }
  host = std::min(host, authority.size());
  if (!plain || host == 0) return no_url();
  const auto port = port_of(authority.substr(host));
  if (!port) return Error{quote(text) + " has no port that can be one", {}, "write 1 to 65535, such as 4318"};
  for (const char* own : {"/v1/traces", "/v1/metrics", "/v1/logs"}) {
    if (rest.ends_with(own))
      return Error{"it is where all signals go: " + std::string(own) + " is added to it", {}, "leave it out"};
  }
  return *port;
}

Place read_telemetry(const Reading& reading, const Node& node, core::TelemetrySpec& telemetry) {
  if (node.kind == Kind::boolean) {
    reading.report.wrong_type(
        node, "telemetry", "a table",
        std::string("write telemetry = { enabled = ") + (node.boolean ? "true" : "false") + " }");
  } else if (node.kind != Kind::table) {
    reading.report.wrong_type(node, "telemetry", "a table such as { endpoint = \"http://HOST:4318\" }");
  } else {
    return TelemetryReader(reading, node, telemetry).read();
  }
  return {};
}

}  // namespace runmain::config
