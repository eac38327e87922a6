// What each verb of the control socket does.
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <csignal>

#include "base/wall_time.hpp"
#include "control/last_words.hpp"
#include "control/server.hpp"
#include "control/suggest.hpp"

namespace runmain::control {
namespace {

constexpr std::size_t kBacklogBytesMax = 1U << 20U;   // of log lines from before the request
constexpr std::int64_t kNumberMax = (1LL << 32) - 1;  // of workers, as far as this room cares
constexpr std::size_t kReasonsMax = 16;               // services named in a failed wait

const std::vector<std::string> kVerbs{"status",  "start", "stop",  "restart", "reload", "scale",
                                      "signal",  "down",  "apply", "logs",    "events", "why",
                                      "explain", "wait",  "ping",  "upgrade"};

std::vector<std::string> names_in(const core::Snapshot& snapshot) {
  std::vector<std::string> names;
  for (const auto& service : snapshot.services) names.push_back(service.name);
  return names;
}

const core::ServiceView* find_service(const core::Snapshot& snapshot, const std::string& name) {
  for (const auto& service : snapshot.services) {
    if (service.name == name) return &service;
  }
  return nullptr;
}

Error unknown_service(const core::Snapshot& snapshot, const std::string& name) {
  return Error{"no service \"" + name + "\"", {}, did_you_mean(name, names_in(snapshot))};
}

// True for an id that may come back; `id` is then its JSON.
bool read_id(const Json& request, std::string& id) {
  const auto found = request.find("id");
  if (found == request.end() || !(found->is_number_integer() || found->is_string())) return false;
  id = to_line(*found);
  return id.size() <= kIdMax;
}

bool keeps_failing(const core::ServiceView& service) {
  return service.state == core::ServiceState::backoff && service.unhealthy >= core::kKeepsFailing;
}

// Something is under way that may end in ready.
bool is_trying(const core::ServiceView& service) {
  using S = core::ServiceState;
  const S state = service.state;
  return state == S::building || state == S::starting || state == S::reloading || state == S::stopping ||
         (state == S::backoff && !keeps_failing(service));
}

std::size_t count_state(const core::Snapshot& snapshot, core::ServiceState state) {
  const auto is = [state](const core::ServiceView& service) { return service.state == state; };
  return static_cast<std::size_t>(std::count_if(snapshot.services.begin(), snapshot.services.end(), is));
}

// "web: exited with status 1; api: waits for web".
std::string reasons_of(const core::Snapshot& snapshot) {
  std::string reasons;
  std::size_t named = 0;
  for (const auto& service : snapshot.services) {
    const bool failing = keeps_failing(service);
    const bool told = failing || service.state == core::ServiceState::failed ||
                      service.state == core::ServiceState::waiting;
    if (!told || ++named > kReasonsMax) continue;
    const std::string why =
        failing ? "keeps failing, " + std::to_string(service.unhealthy) + " times in a row" : service.reason;
    reasons += (reasons.empty() ? "" : "; ") + service.name + ": " + (why.empty() ? "failed" : why);
  }
  return reasons;
}

}  // namespace

void Server::handle(Client& client, const std::string& line) {
  const Json request = from_line(line);
  client.id = "null";
  if (!request.is_object() || !read_id(request, client.id)) {
    ++counters_.bad_requests;
    client.id = "null";
    fail(client, kBadRequest,
         Error{"not a request", {}, R"(one JSON object a line: {"v":1,"id":1,"verb":"status"})"});
    client.connection->finish();
    return;
  }
  if (number_of(request, "v") != kProtocolVersion) {
    fail(client, kBadRequest, Error{"this runmain speaks version " + std::to_string(kProtocolVersion)});
    return;
  }
  const auto found = request.find("args");
  const Json args = found == request.end() ? Json::object() : *found;
  const std::string verb = text_of(request, "verb");
  using Verb = core::CommandVerb;
  if (verb == "status") {
    reply(client, status_json(backend_.snapshot(), backend_, os::Loop::now()));
  } else if (verb == "start") {
    do_command(client, Verb::start, args);
  } else if (verb == "stop") {
    do_command(client, Verb::stop, args);
  } else if (verb == "restart") {
    do_command(client, Verb::restart, args);
  } else if (verb == "reload") {
    do_command(client, Verb::reload, args);
  } else if (verb == "scale") {
    do_command(client, Verb::scale, args);
  } else if (verb == "signal") {
    do_command(client, Verb::signal, args);
  } else if (verb == "upgrade") {
    do_upgrade(client, args);
  } else if (verb == "down") {
    do_command(client, Verb::shutdown, Json::object());
  } else if (verb == "logs") {
    do_logs(client, args);
  } else if (verb == "events") {
    do_events(client, args);
  } else if (verb == "why") {
    do_why(client, args);
  } else if (verb == "explain") {
    do_explain(client, args);
  } else if (verb == "ping") {
    do_ping(client);
  } else if (verb == "wait") {
    client.work = Work::wait;
    const std::int64_t timeout = number_of(args, "timeout_ms");
    constexpr std::int64_t kTimeoutMax = 1LL << 40;
    if (timeout > 0)
      client.deadline = os::Loop::now() + std::chrono::milliseconds(std::min(timeout, kTimeoutMax));
    look_at_wait(client, backend_.snapshot());
  } else if (verb == "apply") {
    const auto applied = backend_.apply();
    applied.ok() ? reply(client, Json::object()) : fail(client, kConfiguration, applied.error());
  } else {
    fail(client, kUnknownVerb,
         Error{"no verb \"" + verb.substr(0, kIdMax) + "\"", {}, did_you_mean(verb, kVerbs)});
  }
}

// Where it is done, the client has lost us by then, and asks our successor.
void Server::do_upgrade(Client& client, const Json& args) {
  const std::string folder = text_of(args, "folder");
  if (!folder.starts_with("/") || folder.size() >= PATH_MAX) {
    fail(client, kBadRequest,
         Error{"folder is an absolute path of at most " + std::to_string(PATH_MAX - 1) + " bytes"});
    return;
  }
  client.work = Work::command;
  client.since = os::Loop::now();
  commanding_ = true;  // the answer may come before the number is known
  client.request = backend_.upgrade(folder);
  commanding_ = false;
  const auto early = std::exchange(early_answers_, {});
  for (const auto& [request, error] : early) answered(request, error);
}

// On failure the client has its answer. No names: `ids` stays empty, which means all.
bool Server::named_services(Client& client, const Json& args, std::vector<ServiceId>& ids) {
  const auto found = args.find("services");
  if (!args.is_object() || found == args.end()) return true;
  const bool fits = found->is_array() && found->size() <= kServicesMax;
  if (!fits ||
      !std::all_of(found->begin(), found->end(), [](const Json& name) { return name.is_string(); })) {
    fail(client, kBadRequest, Error{"services is a list of names"});
    return false;
  }
  const core::Snapshot snapshot = backend_.snapshot();
  for (const Json& name : *found) {
    const auto* service = find_service(snapshot, name.get<std::string>());
    if (service == nullptr) {
      fail(client, kUnknownService, unknown_service(snapshot, name.get<std::string>()));
      return false;
    }
    if (std::find(ids.begin(), ids.end(), service->id) == ids.end()) ids.push_back(service->id);
  }
  return true;
}

void Server::do_command(Client& client, core::CommandVerb verb, const Json& args) {
  // Who reloads means the file as it is now. A file with faults reloads nothing.
  if (verb == core::CommandVerb::reload) {
    if (const auto applied = backend_.apply(); !applied) {
      fail(client, kConfiguration, applied.error());
      return;
    }
  }
  std::vector<ServiceId> ids;
  if (!named_services(client, args, ids)) return;
  const auto signal = number_of(args, "signal");
  if (verb == core::CommandVerb::signal && (signal <= 0 || signal > SIGRTMAX)) {
    fail(client, kBadRequest, Error{"signal is a number from 1 to " + std::to_string(SIGRTMAX)});
    return;
  }
  const bool scales = verb == core::CommandVerb::scale;
  const auto number = number_of(args, scales ? "workers" : "canary");
  if (number < (scales ? 1 : 0) || number > kNumberMax || (scales && ids.empty())) {
    fail(client, kBadRequest,
         Error{scales ? "scale names services and how many workers" : "canary is a number"});
    return;
  }
  if (scales) {
    if (const auto can = backend_.check_scale(ids, static_cast<std::uint32_t>(number)); !can) {
      fail(client, kFailed, can.error());
      return;
    }
  }
  const std::string doctor = verb == core::CommandVerb::reload ? text_of(args, "doctor") : std::string();
  if (verb == core::CommandVerb::reload) {
    if (!doctor.empty() && (doctor[0] != '/' || ids.size() != 1)) {
      fail(client, kBadRequest, Error{"doctor is an absolute path, for one service"});
      return;
    }
    backend_.set_doctor(ids, doctor);
  }
  client.work = Work::command;
  client.since = os::Loop::now();
  client.services.insert(ids.begin(), ids.end());
  // The answer may come before the number is known.
  commanding_ = true;
  const std::vector<ServiceId> meant = ids;
  client.request =
      backend_.command(verb, std::move(ids), static_cast<int>(signal), static_cast<std::uint32_t>(number));
  commanding_ = false;
  if (!doctor.empty()) doctored_[client.request] = meant;
  const auto early = std::exchange(early_answers_, {});
  for (const auto& [request, error] : early) answered(request, error);
  const auto wait = args.is_object() ? args.find("wait") : args.end();
  const bool stays = !args.is_object() || wait == args.end() || !wait->is_boolean() || wait->get<bool>();
  if (client.work == Work::command && !stays) reply(client, Json::object());
}

// What the services of a command that failed said last: those in whose history a failure has come since.
Json Server::output_of_failed(const Client& client) {
  Json output = Json::array();
  const core::Snapshot snapshot = backend_.snapshot();
  look_at_numbers(snapshot);
  std::size_t services = 0;
  for (const core::ServiceView& service : snapshot.services) {
    if (!client.services.empty() && client.services.count(service.id) == 0) continue;
    const auto failed = failed_start(service, client.since);
    if (!failed || ++services > kLastWordsServicesMax) continue;
    for (const LogLine& line : backend_.last_words(*failed, kLastWordsMax))
      output.push_back(log_json(line, numbered_.count(line.service) != 0));
  }
  return output;
}

void Server::look_at_numbers(const core::Snapshot& snapshot) {
  numbered_.clear();
  for (const auto& service : snapshot.services) {
    const auto beyond_first = [](const core::WorkerView& worker) {
      return worker.key.slot > 0 && worker.key.is_worker();
    };
    if (std::any_of(service.workers.begin(), service.workers.end(), beyond_first))
      numbered_.insert(service.id);
  }
}

void Server::do_logs(Client& client, const Json& args) {
  std::vector<ServiceId> ids;
  if (!named_services(client, args, ids)) return;
  const core::Snapshot snapshot = backend_.snapshot();
  look_at_numbers(snapshot);
  std::vector<ServiceId> named = ids;
  for (const auto& service : snapshot.services) {
    if (ids.empty()) named.push_back(service.id);
  }
  const auto wanted = number_of(args, "lines", static_cast<std::int64_t>(kLinesDefault));
  const auto count =
      static_cast<std::size_t>(std::clamp<std::int64_t>(wanted, 0, static_cast<std::int64_t>(kLinesMax)));
  const auto lines = count == 0 ? std::vector<LogLine>() : backend_.recent(named, count);
  const std::string since = text_of(args, "since");
  std::size_t bytes = 0;
  for (auto line = lines.rbegin(); line != lines.rend() && client.backlog.size() < count; ++line) {
    if (rfc3339(line->time_ns) < since) continue;
    std::string item = to_line(log_json(*line, numbered_.count(line->service) != 0));
    bytes += item.size();
    if (bytes > kBacklogBytesMax) break;
    client.backlog.push_front(std::move(item));
  }
  client.work = Work::logs;
  client.follow = flag_of(args, "follow");
  client.services.insert(ids.begin(), ids.end());
  pump(client);
}

void Server::do_events(Client& client, const Json& args) {
  for (const FactLine& line : facts_) client.backlog.push_back(to_line(event_json(line)));
  client.work = Work::events;
  client.follow = flag_of(args, "follow");
  pump(client);
}

void Server::do_why(Client& client, const Json& args) {
  const core::Snapshot snapshot = backend_.snapshot();
  const std::string name = text_of(args, "service");
  const auto* service = find_service(snapshot, name);
  if (service == nullptr) {
    fail(client, kUnknownService, unknown_service(snapshot, name));
    return;
  }
  const Time now = os::Loop::now();
  const std::int64_t wall = wall_now_ns();
  Json history = Json::array();
  for (const core::Fact& fact : service->history)
    history.push_back(event_json({0, wall_of(fact.time, now, wall), service->name, fact}));
  reply(client, Json{{"now_ns", now.time_since_epoch().count()},
                     {"service", service_json(*service, backend_.queues(), backend_, now)},
                     {"history", history}});
}

void Server::do_explain(Client& client, const Json& args) {
  const auto paths = args.is_object() ? args.find("paths") : args.end();
  const auto fits = [](const Json& path) {
    return path.is_string() && path.get_ref<const std::string&>().starts_with("/");
  };
  if (!args.is_object() || paths == args.end() || !paths->is_array() || paths->size() > kPathsMax ||
      !std::all_of(paths->begin(), paths->end(), fits)) {
    fail(client, kBadRequest,
         Error{"paths is a list of absolute paths, at most " + std::to_string(kPathsMax)});
    return;
  }
  const core::Snapshot snapshot = backend_.snapshot();
  Json answers = Json::array();
  for (const Json& path : *paths) {
    Json services = Json::array();
    for (const auto& service : snapshot.services) {
      Json said{{"service", service.name}};
      said.update(backend_.explain(service.id, path.get<std::string>()));
      services.push_back(std::move(said));
    }
    answers.push_back({{"path", path}, {"services", std::move(services)}});
  }
  reply(client, Json{{"paths", std::move(answers)}});
}

void Server::do_ping(Client& client) {
  const Identity who = backend_.identity();
  const core::Snapshot snapshot = backend_.snapshot();
  const bool prod = snapshot.mode == core::Mode::prod;
  reply(client, Json{{"version", RUNMAIN_VERSION},
                     {"pid", who.keeper_pid},
                     {"head_pid", getpid()},
                     {"mode", prod ? "prod" : "dev"},
                     {"config", who.config_file},
                     {"program", who.program},
                     {"upgrading", snapshot.upgrading},
                     {"upgrade_error", snapshot.upgrade_error},
                     {"upgrades", snapshot.upgrades}});
}

// Services that a person has stopped are not waited for. One that waits for a failed one is not trying.
void Server::look_at_wait(Client& client, const core::Snapshot& snapshot) {
  if (snapshot.shutting_down) {
    const bool failed = count_state(snapshot, core::ServiceState::failed) > 0;
    fail(client, kFailed, Error{failed ? reasons_of(snapshot) : "runmain is shutting down"});
    return;
  }
  const auto& all = snapshot.services;
  if (std::any_of(all.begin(), all.end(), is_trying)) return;
  if (count_state(snapshot, core::ServiceState::failed) > 0 ||
      std::any_of(all.begin(), all.end(), keeps_failing)) {
    fail(client, kFailed,
         Error{reasons_of(snapshot), {}, "see `runmain why SERVICE` and `runmain logs SERVICE`"});
  } else if (count_state(snapshot, core::ServiceState::waiting) == 0) {
    reply(client, Json::object());
  }
}

}  // namespace runmain::control
