#include "drive/channel.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "base/identity.hpp"
#include "child_runtime/protocol.h"
#include "drive/json_text.hpp"
#include "drive/notify.hpp"
#include "os/linux/proc.hpp"

namespace runmain::drive {
namespace {

using nlohmann::json;

// Counts that came by notify are kept as those of a connection with this bit and the sender's pid.
constexpr std::uint64_t kByNotify = 1ULL << 63U;

std::optional<std::uint64_t> get_unsigned(const json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_number_unsigned()) return std::nullopt;
  return it->get<std::uint64_t>();
}

std::string get_text(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

bool get_true(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_boolean() && it->get<bool>();
}

std::string to_line(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

// The line with these listeners; where it would be too long, of each only the kind.
std::string with_listeners(const std::vector<RoleListener>& listeners,
                           const std::function<std::string(json)>& line_of) {
  const auto make = [&](bool whole) {
    json all = json::array();
    for (const RoleListener& l : listeners) {
      json listener = {{"kind", kind_of_address(l.address)}};
      if (whole) {
        listener["name"] = l.name;
        listener["address"] = l.address;
      }
      all.push_back(std::move(listener));
    }
    return line_of(std::move(all));
  };
  std::string line = make(true);
  return line.size() <= RUNMAIN_CHANNEL_LINE_MAX ? line : make(false);
}

// Empty: a claim, or a question for the sockets, is in order; otherwise the reason why it is not.
std::string check_claim(const keeper::Line& line, const json& claim, const std::string& secret) {
  if (!claim.is_object()) return "a claim is an object";
  if (!line.has_key) return "process " + std::to_string(line.pid) + " is not of a tree that runmain started";
  if (const char* helper = helper_name(line.key.slot)) {
    return "a " + std::string(helper) + (line.key.is_build() ? " step" : "") + " cannot claim";
  }
  if (!equal_secrets(get_text(claim, "nonce"), nonce(secret, line.key))) {
    return "the nonce is not the one of this start";
  }
  const auto pid = get_unsigned(claim, "pid");
  if (!pid || *pid != static_cast<std::uint64_t>(line.pid)) {
    return "the claim names another process than " + std::to_string(line.pid) + ", which sent it";
  }
  return {};
}

}  // namespace

LineOutcome Channel::receive(const keeper::Line& line) {
  LineOutcome out;
  const auto refuse = [&](std::string why) {
    ++refused_;
    out.refusal = std::move(why);
    return out;
  };
  if (line.text.size() > keeper::kLineMax) return refuse("the line is too long");
  if (!json_may_be_parsed(line.text, kChannelNestingMax))
    return refuse("the line is nested too deeply, or holds a NUL byte");
  const json object = json::parse(line.text, nullptr, false);
  if (!object.is_object()) return refuse("the line is not a JSON object");
  if (get_unsigned(object, "v") != RUNMAIN_CHANNEL_VERSION) return refuse("the line is of another version");

  if (const auto claim = object.find("claim"); claim != object.end()) {
    out.claim = true;
    if (std::string why = check_claim(line, *claim, secret_); !why.empty()) return refuse(std::move(why));
    out.events.emplace_back(core::Claimed{line.key, line.conn, line.pid, get_true(*claim, "explicit"),
                                          clip_status(get_text(*claim, "runtime"), kRuntimeTextMax),
                                          ended_holders(line.key), get_text(*claim, "mailbox") == "path"});
    return out;
  }
  if (const auto asked = object.find("sockets"); asked != object.end()) {
    out.sockets = true;
    if (std::string why = check_claim(line, *asked, secret_); !why.empty()) return refuse(std::move(why));
    return out;
  }
  if (!line.bound || !line.has_key) return refuse("nothing has been granted on this connection");
  if (get_true(object, "ready")) out.events.emplace_back(core::Ready{line.key, core::Proof::claim, {}});
  const bool drained = get_true(object, "drained");  // a child that was not asked to is stopping, too
  if (get_true(object, "stopping") || drained) out.events.emplace_back(core::Stopping{line.key, line.pid});
  if (drained) out.events.emplace_back(core::Drained{line.key, line.pid, ended_holders(line.key)});
  if (object.contains("status") && object["status"].is_string()) {
    out.events.emplace_back(core::StatusText{line.key, clip_status(get_text(object, "status"))});
  }
  if (const auto requests = object.find("requests"); requests != object.end() && requests->is_object()) {
    count(line.conn, line.key,
          {get_unsigned(*requests, "done").value_or(0), get_unsigned(*requests, "in_flight").value_or(0)});
    if (auto told = to_tell(line.key)) out.events.emplace_back(std::move(*told));
    return out;
  }
  if (out.events.empty()) ++ignored_;
  return out;
}

// A pid that has been given to another process since counts as its holder still: rare, and only a refusal.
std::vector<std::int32_t> Channel::ended_holders(const ChildKey& key) const {
  std::vector<std::int32_t> holders = holders_of_ ? holders_of_(key) : std::vector<std::int32_t>{};
  std::erase_if(holders, [](std::int32_t pid) {
    const auto state = os::process_state(pid);
    return state && state->living();
  });
  return holders;
}

void Channel::count(std::uint64_t conn, const ChildKey& key, const RequestCounts& counts) {
  const auto it = by_conn_.find(conn);
  if (it == by_conn_.end() && by_conn_.size() >= kRequestEntriesMax) {
    ++counts_dropped_;
    return;
  }
  by_conn_[conn] = {key, counts};
}

std::optional<core::Requests> Channel::notified(const ChildKey& key, std::int32_t sender,
                                                RequestCounts counts) {
  count(kByNotify | static_cast<std::uint32_t>(sender), key, counts);
  return to_tell(key);
}

std::optional<core::Requests> Channel::to_tell(const ChildKey& key) {
  const core::RecycleSpec* recycle = recycle_of_ ? recycle_of_(key.service) : nullptr;
  if (recycle == nullptr || recycle->requests == 0) return std::nullopt;
  const RequestCounts all = requests(key);
  const std::uint64_t hundredth = std::max<std::uint64_t>(1, recycle->requests / 100);
  const std::uint64_t jitter = core::jitter_of(recycle->requests, recycle->jitter_percent);
  if (all.done < recycle->requests - std::min(recycle->requests, jitter)) return std::nullopt;
  const auto told = told_.find(key);
  if (told != told_.end() && all.done - std::min(all.done, told->second) < hundredth) return std::nullopt;
  told_[key] = all.done;
  return core::Requests{key, all.done, all.in_flight};
}

void Channel::closed(std::uint64_t conn) {
  const auto it = by_conn_.find(conn);
  if (it == by_conn_.end()) return;
  if (done_before_.size() < kRequestEntriesMax || done_before_.count(it->second.key) != 0) {
    done_before_[it->second.key] += it->second.counts.done;
  } else {
    ++counts_dropped_;
  }
  by_conn_.erase(it);
}

void Channel::forget(const ChildKey& key) {
  told_.erase(key);
  done_before_.erase(key);
  for (auto it = by_conn_.begin(); it != by_conn_.end();) {
    it = it->second.key == key ? by_conn_.erase(it) : std::next(it);
  }
}

bool Channel::has_told(ServiceId service) const {
  const auto before = [&](const auto& entry) { return entry.first.service == service; };
  const auto now = [&](const auto& entry) { return entry.second.key.service == service; };
  return std::any_of(done_before_.begin(), done_before_.end(), before) ||
         std::any_of(by_conn_.begin(), by_conn_.end(), now);
}

RequestCounts Channel::requests(const ChildKey& key) const {
  RequestCounts sum;
  const auto before = done_before_.find(key);
  if (before != done_before_.end()) sum.done = before->second;
  for (const auto& [conn, entry] : by_conn_) {
    if (entry.key != key) continue;
    sum.done += entry.counts.done;
    sum.in_flight += entry.counts.in_flight;
  }
  return sum;
}

std::string role_line(const Role& role) {
  json body = {{"service", role.service},
               {"slot", role.key.slot},
               {"generation", role.key.generation},
               {"instance_id", role.instance_id}};
  if (role.mailbox) body["mailbox"] = true;
  return with_listeners(role.listeners, [&](json listeners) {
    body["listeners"] = std::move(listeners);
    return to_line({{"v", RUNMAIN_CHANNEL_VERSION}, {"role", body}});
  });
}

std::string sockets_line(const std::vector<RoleListener>& listeners) {
  return with_listeners(listeners, [](json all) {
    return to_line({{"v", RUNMAIN_CHANNEL_VERSION}, {"sockets", std::move(all)}});
  });
}

std::string refused_line(const std::string& why) {
  return to_line({{"v", RUNMAIN_CHANNEL_VERSION}, {"refused", {{"why", clip_status(why)}}}});
}

std::string drain_line(Duration budget) {
  return to_line({{"v", RUNMAIN_CHANNEL_VERSION}, {"drain", {{"budget_ms", to_ms(budget)}}}});
}

const char* kind_of_address(const std::string& bound) {
  if (bound.rfind("unix:", 0) == 0) return "unix";
  return bound.rfind("udp:", 0) == 0 ? "udp" : "tcp";
}

}  // namespace runmain::drive
