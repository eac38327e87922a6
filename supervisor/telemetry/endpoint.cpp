#include "telemetry/endpoint.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>

#include "base/text.hpp"

namespace runmain::telemetry {
namespace {

constexpr const char* kBase = "http://localhost:4318";

const char* upper_name(Signal signal) {
  static constexpr const char* kNames[] = {"TRACES", "METRICS", "LOGS"};
  return kNames[static_cast<std::size_t>(signal)];
}

const char* path_of(Signal signal) {
  static constexpr const char* kPaths[] = {"v1/traces", "v1/metrics", "v1/logs"};
  return kPaths[static_cast<std::size_t>(signal)];
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

struct Setting {
  std::string name;
  std::string value;
};

// Of this signal, else of all; empty is not set.
std::optional<Setting> setting(Signal signal, const Environment& environment, const std::string& option) {
  for (const std::string& name : {"OTEL_EXPORTER_OTLP_" + std::string(upper_name(signal)) + "_" + option,
                                  "OTEL_EXPORTER_OTLP_" + option}) {
    const auto found = environment.find(name);
    if (found != environment.end() && !found->second.empty()) return Setting{name, found->second};
  }
  return std::nullopt;
}

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return false;
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + (c - '0');
  }
  return port > 0 && port <= 65535;
}

bool is_authority(std::string_view text) {
  if (const std::size_t at = text.rfind('@'); at != std::string_view::npos) text.remove_prefix(at + 1);
  std::size_t end = text.size();
  if (!text.empty() && text[0] == '[') {
    end = text.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    ++end;
  } else {
    end = std::min(end, text.find(':'));
    if (end == 0) return false;
  }
  const std::string_view rest = text.substr(end);
  return rest.empty() || (rest[0] == ':' && is_port(rest.substr(1)));
}

struct Url {
  std::string before;  // scheme and authority
  std::string path;
  std::string query;  // with its '?'
};

std::optional<Url> parse_url(const std::string& text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c != 0x7f; });
  const std::size_t colon = text.find("://");
  if (!plain || colon == std::string::npos) return std::nullopt;
  const std::string scheme = lower(text.substr(0, colon));
  if (scheme != "http" && scheme != "https") return std::nullopt;
  const std::size_t begin = colon + 3;
  const std::size_t end = std::min(text.find_first_of("/?#", begin), text.size());
  if (!is_authority(std::string_view(text).substr(begin, end - begin))) return std::nullopt;
  const std::size_t fragment = std::min(text.find('#', end), text.size());
  const std::size_t query = std::min(text.find('?', end), fragment);
  return Url{scheme + text.substr(colon, end - colon), text.substr(end, query - end),
             text.substr(query, fragment - query)};
}

std::optional<std::string> percent_decoded(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

// RFC 9110: a field's name is a token.
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string::npos;
  });
}

bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return (c >= 0x20 && c != 0x7f) || c == '\t'; });
}

class Reader {
 public:
  Reader(Signal signal, const Environment& environment) : signal_(signal), environment_(environment) {}

  Endpoint read() {
    exporter();
    url();
    if (const auto found = of("HEADERS")) out_.headers = parse_headers(found->value, out_.warnings);
    timeout();
    choice("COMPRESSION", "gzip", "none", out_.gzip);
    if (const auto found = of("PROTOCOL"); found && found->value == "grpc") {
      warn(*found, "is not spoken here: using http/protobuf");
    } else {
      choice("PROTOCOL", "http/json", "http/protobuf", out_.json);
    }
    file("CERTIFICATE", out_.certificate);
    file("CLIENT_CERTIFICATE", out_.client_certificate);
    file("CLIENT_KEY", out_.client_key);
    return std::move(out_);
  }

 private:
  std::optional<Setting> of(const char* option) const { return setting(signal_, environment_, option); }

  void warn(const Setting& setting, const std::string& what) {
    out_.warnings.push_back(setting.name + ": \"" + setting.value + "\" " + what);
  }

  void exporter() {
    const auto disabled = environment_.find("OTEL_SDK_DISABLED");
    if (disabled != environment_.end() && lower(disabled->second) == "true") out_.enabled = false;
    const std::string name = "OTEL_" + std::string(upper_name(signal_)) + "_EXPORTER";
    const auto found = environment_.find(name);
    if (found == environment_.end() || found->second.empty() || found->second == "otlp") return;
    if (found->second == "none") {
      out_.enabled = false;
    } else if (("," + found->second + ",").find(",otlp,") == std::string::npos) {
      warn({name, found->second}, "is not spoken here: using otlp");
    }
  }

  void url() {
    const std::string own = "OTEL_EXPORTER_OTLP_" + std::string(upper_name(signal_)) + "_ENDPOINT";
    out_.url = signal_url(signal_, kBase);
    const auto found = of("ENDPOINT");
    if (!found) return;
    const auto parsed = parse_url(found->value);
    if (!parsed) {  // elsewhere than where it was meant to go nothing is sent
      out_.enabled = false;
      return warn(*found, "is not an http or https URL: nothing is exported");
    }
    if (found->name == own) {
      out_.url = parsed->before + (parsed->path.empty() ? "/" : parsed->path) + parsed->query;
    } else {
      out_.url = signal_url(signal_, found->value);
    }
  }

  void timeout() {
    const auto found = of("TIMEOUT");
    if (!found) return;
    constexpr std::size_t kDigitsMax = 12;
    const bool number = found->value.find_first_not_of("0123456789") == std::string::npos;
    const long long ms = number && found->value.size() <= kDigitsMax ? std::stoll(found->value) : 0;
    if (ms <= 0) return warn(*found, "is not a number of milliseconds, ignoring");
    out_.timeout = std::min<Duration>(std::chrono::milliseconds(ms), kExportTimeoutMax);
  }

  void choice(const char* option, const char* yes, const char* no, bool& value) {
    const auto found = of(option);
    if (!found) return;
    if (found->value != yes && found->value != no) {
      return warn(*found, std::string("is neither ") + no + " nor " + yes + ", ignoring");
    }
    value = found->value == yes;
  }

  void file(const char* option, std::string& value) const {
    if (const auto found = of(option)) value = found->value;
  }

  Signal signal_;
  const Environment& environment_;
  Endpoint out_;
};

}  // namespace

std::string signal_url(Signal signal, const std::string& base) {
  const auto url = parse_url(base);
  if (!url) return {};
  const bool slash = !url->path.empty() && url->path.back() == '/';
  return url->before + url->path + (slash ? "" : "/") + path_of(signal) + url->query;
}

std::string address_of(const std::string& url) {
  constexpr std::size_t kShownMax = 100;
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return {};
  const std::size_t begin = scheme + 3;
  std::string authority = url.substr(begin, url.find_first_of("/?#", begin) - begin);
  if (const std::size_t at = authority.rfind('@'); at != std::string::npos) authority.erase(0, at + 1);
  return lower(url.substr(0, begin)) + printable(authority.substr(0, kShownMax), false);
}

std::vector<std::pair<std::string, std::string>> parse_headers(const std::string& text,
                                                               std::vector<std::string>& warnings) {
  std::vector<std::pair<std::string, std::string>> headers;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view pair = trim(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    const std::string_view name = trim(pair.substr(0, std::min(equals, pair.size())));
    const auto key = percent_decoded(name);
    const auto value =
        equals == std::string_view::npos ? std::nullopt : percent_decoded(trim(pair.substr(equals + 1)));
    // The value may be a secret: only the name is told.
    const bool fits = key && value && is_token(*key) && is_field_value(*value);
    if (!fits || pair.find(';') != std::string_view::npos) {
      warnings.push_back("header \"" + std::string(name) +
                         "\" is not name=value with percent-encoding, ignoring");
      continue;
    }
    const auto same = [&](const auto& header) { return lower(header.first) == lower(*key); };
    std::erase_if(headers, same);
    headers.emplace_back(*key, *value);
  }
  return headers;
}

Endpoint read_endpoint(Signal signal, const Environment& environment) {
  return Reader(signal, environment).read();
}

}  // namespace runmain::telemetry
