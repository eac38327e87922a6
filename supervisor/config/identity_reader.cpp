// As whom a service runs, and within which bounds: the keys user, group, umask and limits.
#include <sys/resource.h>

#include <limits>

#include "config/host.hpp"
#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"

namespace runmain::config {
namespace {

constexpr std::int64_t kAnyInteger = std::numeric_limits<std::int64_t>::max();

}  // namespace

void ServiceReader::read_identity() {
  const auto read = [this](const char* key, std::string& out,
                           bool (*check)(Report&, Place, const std::string&)) {
    const Node* node = table_.find(key);
    std::int64_t number = 0;
    if (node == nullptr) return;
    if (node->kind == Kind::integer) {
      if (read_integer(report(), *node, key, 0, 0xfffffffeLL, number)) out = std::to_string(number);
    } else if (read_string(report(), *node, key, out) && reading_.check_host) {
      check(report(), node->place, out);
    }
  };
  read("user", spec().user, check_user);
  read("group", spec().group, check_group);

  const Node* mask = table_.find("umask");
  if (mask == nullptr) return;
  std::string text;
  if (mask->kind == Kind::integer && mask->octal && mask->integer >= 0 && mask->integer <= 0777) {
    spec().umask = static_cast<std::uint32_t>(mask->integer);
  } else if (mask->kind == Kind::integer && mask->octal) {
    report().fault(mask->place, "umask must be from 0o000 to 0o777");
  } else if (mask->kind == Kind::integer) {
    report().wrong_type(*mask, "umask", "octal digits in quotes",
                        "write \"027\"; TOML reads a bare number as decimal");
  } else if (read_string(report(), *mask, "umask", text)) {
    const auto parsed = parse_umask(text);
    if (parsed) spec().umask = *parsed;
    if (!parsed) report().fault(mask->place, "umask: " + parsed.error().message, parsed.error().hint);
  }
}

void ServiceReader::read_limits() {
  const Node* node = table_.find("limits");
  if (node == nullptr) return;
  if (node->kind != Kind::table) {
    report().wrong_type(*node, "limits", "a table such as { nofile = 4096 }");
    return;
  }
  Table table(report(), *node, "limits.");
  for (const Resource& resource : resources()) {
    const Node* value = table.find(resource.name);
    if (value != nullptr) read_limit(*value, table.name(resource.name), resource.number, resource.bytes);
  }
  table.refuse_others([](const Node& item) {
    return item.key == "rttime" ? std::string("runmain marks the processes of a service with this limit")
                                : std::string();
  });
}

// One value for both, or { soft, hard }; a missing one is as the other.
void ServiceReader::read_limit(const Node& node, const std::string& name, int resource, bool bytes) {
  core::LimitSpec limit;
  limit.resource = resource;
  if (node.kind != Kind::table) {
    if (!read_limit_value(node, name, bytes, limit.soft)) return;
    limit.hard = limit.soft;
  } else {
    Table table(report(), node, name + ".");
    const Node* soft = table.find("soft");
    const Node* hard = table.find("hard");
    table.refuse_others();
    if (soft == nullptr && hard == nullptr) report().fault(node.place, name + " has neither soft nor hard");
    const bool read = (soft == nullptr || read_limit_value(*soft, name + ".soft", bytes, limit.soft)) &&
                      (hard == nullptr || read_limit_value(*hard, name + ".hard", bytes, limit.hard));
    if (!read || (soft == nullptr && hard == nullptr)) return;
    if (soft == nullptr) limit.soft = limit.hard;
    if (hard == nullptr) limit.hard = limit.soft;
    if (limit.soft > limit.hard) {
      report().fault(soft->place, name + ".soft is above hard");
      return;
    }
  }
  spec().limits.push_back(limit);
}

// A number, a size in quotes where bytes are counted, or "unlimited".
bool ServiceReader::read_limit_value(const Node& node, const std::string& name, bool bytes,
                                     std::uint64_t& out) {
  if (node.kind == Kind::string && node.text == "unlimited") {
    out = RLIM_INFINITY;
    return true;
  }
  if (bytes) return read_size(node, name, out);
  if (node.kind == Kind::string) {
    report().fault(node.place, name + " cannot be " + quote(node.text), "write a number or \"unlimited\"");
    return false;
  }
  std::int64_t number = 0;
  if (!read_integer(report(), node, name, 0, kAnyInteger, number)) return false;
  out = static_cast<std::uint64_t>(number);
  return true;
}

// Bytes as a number, or a size in quotes.
bool ServiceReader::read_size(const Node& node, const std::string& name, std::uint64_t& out) {
  std::int64_t number = 0;
  if (node.kind == Kind::integer) {
    if (!read_integer(report(), node, name, 0, kAnyInteger, number)) return false;
    out = static_cast<std::uint64_t>(number);
    return true;
  }
  if (node.kind != Kind::string) {
    report().wrong_type(node, name, "a size such as \"10MB\"");
    return false;
  }
  const auto size = parse_size(node.text);
  if (size) out = *size;
  if (!size) report().fault(node.place, name + ": " + size.error().message, size.error().hint);
  return size.ok();
}

}  // namespace runmain::config
