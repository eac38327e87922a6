// The resource: who says all this (OpenTelemetry's semantic conventions: service, process, telemetry.sdk).
#include <features.h>
#include <time.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <gnu/libc-version.h>
#endif

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "attributes.hpp"
#include "message.hpp"
#include "settings.hpp"

namespace runmain::child {
namespace {

constexpr unsigned kWarnResource = 31;
constexpr unsigned kAttribute = 1;  // of Resource

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// A key or a value of OTEL_RESOURCE_ATTRIBUTES, percent-encoded.
class Encoded {
 public:
  Encoded() = default;
  // White space around it does not count.
  Encoded(const char* begin, const char* end) : begin_(begin), end_(end) {
    while (begin_ < end_ && is_space(*begin_)) ++begin_;
    while (begin_ < end_ && is_space(end_[-1])) --end_;
  }

  // Calls `byte` for each decoded one; false if it is not well encoded.
  template <class F>
  bool decode(F&& byte) const {
    for (const char* at = begin_; at < end_; ++at) {
      if (*at != '%') {
        byte(*at);
        continue;
      }
      if (end_ - at < 3 || hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0) return false;
      byte(static_cast<char>(hex_digit(at[1]) * 16 + hex_digit(at[2])));
      at += 2;
    }
    return true;
  }
  std::size_t size() const {
    std::size_t n = 0;
    decode([&](char) { ++n; });
    return n;
  }
  void copy(char* out) const {
    decode([&](char c) { *out++ = c; });
  }
  bool is(const char* text) const {
    bool same = true;
    std::size_t at = 0;
    const std::size_t size = std::strlen(text);
    decode([&](char c) { same = same && at < size && text[at++] == c; });
    return same && at == size;
  }
  bool same(const Encoded& other) const {  // as written: two ways to write one key are told by the reader
    return end_ - begin_ == other.end_ - other.begin_ &&
           std::memcmp(begin_, other.begin_, static_cast<std::size_t>(end_ - begin_)) == 0;
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\t'; }

  const char* begin_ = nullptr;
  const char* end_ = nullptr;
};

// Calls `pair` for each k=v. False if there is anything else.
template <class F>
bool for_each_pair(const char* text, F&& pair) {
  while (*text != '\0') {
    const char* end = text + std::strcspn(text, ",");
    const auto* equals =
        static_cast<const char*>(std::memchr(text, '=', static_cast<std::size_t>(end - text)));
    const bool blank = Encoded(text, end).size() == 0;
    if (!blank) {
      if (equals == nullptr) return false;
      const Encoded key(text, equals);
      const Encoded value(equals + 1, end);
      const auto ignore = [](char) {};
      if (!key.decode(ignore) || !value.decode(ignore) || key.size() == 0) return false;
      pair(key, value);
    }
    text = *end == ',' ? end + 1 : end;
  }
  return true;
}

// What no environment may say otherwise.
bool is_ours(const Encoded& key) {
  for (const char* name :
       {"service.name", "service.instance.id", "runmain.worker", "runmain.generation", "process.pid",
        "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version"}) {
    if (key.is(name)) return true;
  }
  return false;
}

class ResourceWriter {
 public:
  ResourceWriter(std::uint8_t* out, std::size_t size) : begin_(out), end_(out + size), out_(out) {}

  std::size_t size() const { return static_cast<std::size_t>(out_.at() - begin_); }
  void add(const runmain_attribute& attribute) {
    if (encoded_size(attribute, RUNMAIN_NO_LIMIT) <= room())
      encode(out_, kAttribute, attribute, RUNMAIN_NO_LIMIT);
  }
  void add(const char* key, const char* value) { add(string_attribute(key, text_of(value))); }
  void add(const Encoded& key, const Encoded& value) {
    const std::size_t key_size = key.size();
    const std::size_t value_size = value.size();
    const std::size_t any = field_size(value_size);
    const std::size_t whole = field_size(key_size) + field_size(any);
    if (field_size(whole) > room()) return;
    out_.open(kAttribute, whole);
    out_.open(1, key_size);
    append(key, key_size);
    out_.open(2, any);
    out_.open(1, value_size);
    append(value, value_size);
  }

 private:
  std::size_t room() const { return static_cast<std::size_t>(end_ - out_.at()); }
  void append(const Encoded& text, std::size_t size) {
    text.copy(reinterpret_cast<char*>(out_.at()));
    out_ = WireWriter(out_.at() + size);
  }

  std::uint8_t* begin_;
  std::uint8_t* end_;
  WireWriter out_;
};

// The last one counts.
bool comes_again(const char* text, const Encoded& key, unsigned index) {
  bool again = false;
  unsigned at = 0;
  for_each_pair(text,
                [&](const Encoded& k, const Encoded&) { again = again || (at++ > index && k.same(key)); });
  return again;
}

void add_environment(ResourceWriter& out, const char* text) {
  unsigned index = 0;
  for_each_pair(text, [&](const Encoded& key, const Encoded& value) {
    if (!is_ours(key) && !comes_again(text, key, index)) out.add(key, value);
    ++index;
  });
}

// The last component of /proc/self/exe.
const char* executable_name(char* buffer, std::size_t size) {
  const ssize_t n = readlink("/proc/self/exe", buffer, size - 1);
  if (n <= 0) return "unknown";
  buffer[n] = '\0';
  const char* slash = std::strrchr(buffer, '/');
  return slash != nullptr ? slash + 1 : buffer;
}

void add_service_name(ResourceWriter& out, const ResourceOf& of, const char* environment,
                      const char* executable) {
  const char* name = std::getenv("OTEL_SERVICE_NAME");
  if (name != nullptr && *name != '\0') return out.add("service.name", name);
  Encoded found;
  bool is_there = false;
  for_each_pair(environment, [&](const Encoded& key, const Encoded& value) {
    if (!key.is("service.name") || value.size() == 0) return;
    found = value;
    is_there = true;
  });
  if (is_there) {
    static constexpr char kName[] = "service.name";
    return out.add(Encoded(kName, kName + sizeof kName - 1), found);
  }
  if (of.service != nullptr) return out.add("service.name", of.service);
  char unknown[288];
  std::snprintf(unknown, sizeof unknown, "unknown_service:%.255s", executable);
  out.add("service.name", unknown);
}

void add_process(ResourceWriter& out, const char* executable) {
  out.add(int_attribute("process.pid", getpid()));
  out.add("process.executable.name", executable);
#if defined(__GLIBC__)
  out.add("process.runtime.name", "glibc");
  out.add("process.runtime.version", gnu_get_libc_version());
#endif
}

}  // namespace

std::size_t encode_resource(const ResourceOf& of, std::uint8_t* buffer, std::size_t size) {
  char path[512];
  const char* executable = executable_name(path, sizeof path);
  const char* environment = std::getenv("OTEL_RESOURCE_ATTRIBUTES");
  if (environment == nullptr) environment = "";
  if (!for_each_pair(environment, [](const Encoded&, const Encoded&) {})) {
    warn_once(kWarnResource, "OTEL_RESOURCE_ATTRIBUTES=%s is no list of key=value, percent-encoded, ignoring",
              environment);
    environment = "";
  }
  ResourceWriter out(buffer, size);
  add_service_name(out, of, environment, executable);
  out.add("service.instance.id", of.instance_id);
  out.add("telemetry.sdk.name", "runmain");
  out.add("telemetry.sdk.language", "cpp");
  out.add("telemetry.sdk.version", RUNMAIN_VERSION);
  if (of.service != nullptr) {
    out.add(int_attribute("runmain.worker", of.slot));
    out.add(int_attribute("runmain.generation", of.generation));
  }
  add_process(out, executable);
  add_environment(out, environment);
  return out.size();
}

}  // namespace runmain::child
