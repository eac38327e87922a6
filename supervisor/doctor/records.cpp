#include "doctor/records.hpp"

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <utility>

namespace runmain::doctor {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kTextMax = 1024;  // bytes of one word
constexpr std::size_t kListMax = 1024;

std::string text(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>().substr(0, kTextMax)
                                                   : std::string();
}

bool flag(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() && found->get<bool>();
}

std::optional<std::uint64_t> number(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  const double value = found->get<double>();
  return value >= 0 && value < 1.8e19 ? std::optional(found->get<std::uint64_t>()) : std::nullopt;
}

pid_t pid_in(const Json& json, const char* key) {
  const std::uint64_t value = number(json, key).value_or(0);
  return value < (1U << 30U) ? static_cast<pid_t>(value) : 0;
}

std::vector<std::string> texts(const Json& json, const char* key, std::size_t most) {
  std::vector<std::string> all;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) return all;
  for (const Json& one : *found) {
    if (all.size() >= most) break;
    if (one.is_string()) all.push_back(one.get<std::string>().substr(0, kTextMax));
  }
  return all;
}

class Reader {
 public:
  Reader(pid_t pid, Evidence& evidence) : pid_(pid), evidence_(evidence) {}

  // False: it is no record.
  bool take(const Json& json) {
    using Step = void (Reader::*)(const Json&);
    static const std::unordered_map<std::string, Step> kSteps = {
        {"process", &Reader::process},
        {"package", &Reader::package},
        {"provider", &Reader::provider},
        {"set", &Reader::set},
        {"processor", &Reader::processor},
        {"instrument", &Reader::instrument},
        {"middleware", &Reader::middleware},
        {"fork", &Reader::fork},
        {"start", &Reader::start},
        {"end", &Reader::end},
        {"activate", &Reader::activate},
        {"shutdown", &Reader::shutdown},
        {"signal", &Reader::signal},
        {"kill", &Reader::kill},
        {"exit", &Reader::exit},
        {"full", &Reader::full},
        {"export", &Reader::nothing},
    };
    if (!json.is_object()) return false;
    const auto step = kSteps.find(text(json, "k"));
    if (step == kSteps.end()) return false;
    (this->*step->second)(json);
    return true;
  }

 private:
  template <class T>
  T begun(const Json& json) const {
    T record;
    record.pid = pid_;
    record.time = static_cast<Nanoseconds>(number(json, "t").value_or(0));
    record.stack = texts(json, "stack", kFramesMax);
    return record;
  }

  void process(const Json& json) {
    auto& all = evidence_.processes;
    auto found = std::find_if(all.begin(), all.end(), [&](const Process& p) { return p.pid == pid_; });
    if (found == all.end()) {
      if (all.size() >= kProcessesMax) return full(json);
      all.emplace_back();
      found = std::prev(all.end());
      found->pid = pid_;
    }
    if (found->parent == 0) found->parent = pid_in(json, "ppid");
    if (found->argv.empty()) found->argv = texts(json, "argv", kListMax);
    found->runtime = text(json, "runtime");
    found->forked = flag(json, "forked");
  }

  void package(const Json& json) {
    evidence_.packages.try_emplace(text(json, "name"), text(json, "version"));
  }

  void provider(const Json& json) {
    auto record = begun<ProviderMade>(json);
    record.id = number(json, "id").value_or(0);
    record.type = text(json, "class");
    if (const auto found = json.find("resource"); found != json.end() && found->is_object()) {
      for (const auto& [key, value] : found->items()) {
        if (record.resource.size() >= kListMax) break;
        record.resource[key] =
            value.is_string() ? value.get<std::string>().substr(0, kTextMax) : value.dump();
      }
    }
    evidence_.providers.push_back(std::move(record));
  }

  void set(const Json& json) {
    auto record = begun<ProviderSet>(json);
    record.provider = number(json, "provider");
    record.type = text(json, "class");
    record.accepted = flag(json, "accepted");
    record.first_pid = pid_in(json, "first_pid");
    evidence_.sets.push_back(std::move(record));
  }

  void processor(const Json& json) {
    auto record = begun<ProcessorAdded>(json);
    record.provider = number(json, "provider").value_or(0);
    record.id = number(json, "id").value_or(0);
    record.type = text(json, "class");
    record.exporter = number(json, "exporter");
    record.exporter_type = text(json, "exporter_class");
    record.endpoint = text(json, "endpoint");
    record.protocol = text(json, "protocol");
    record.headers = text(json, "headers");
    evidence_.processors.push_back(std::move(record));
  }

  void instrument(const Json& json) {
    auto record = begun<Instrumented>(json);
    record.type = text(json, "class");
    record.library = text(json, "library");
    record.app = number(json, "app");
    record.automatic = flag(json, "automatic");
    record.refused = flag(json, "refused");
    record.late = flag(json, "late");
    evidence_.instrumented.push_back(std::move(record));
  }

  void middleware(const Json& json) {
    auto record = begun<Middleware>(json);
    record.type = text(json, "class");
    record.library = text(json, "library");
    record.by_program = text(json, "by") == "program";
    evidence_.middlewares.push_back(std::move(record));
  }

  void fork(const Json& json) {
    auto record = begun<Forked>(json);
    record.parent = pid_in(json, "parent");
    record.queued = number(json, "queued").value_or(0);
    if (const auto found = json.find("providers"); found != json.end() && found->is_array()) {
      for (const Json& id : *found) {
        if (id.is_number_unsigned() && record.providers.size() < kListMax)
          record.providers.push_back(id.get<std::uint64_t>());
      }
    }
    if (const auto found = json.find("open"); found != json.end() && found->is_array()) {
      for (const Json& span : *found) {
        if (span.is_object() && record.open.size() < kListMax)
          record.open.push_back({text(span, "trace"), text(span, "span"), text(span, "name")});
      }
    }
    evidence_.forks.push_back(std::move(record));
  }

  void start(const Json& json) {
    auto record = begun<SpanSeen>(json);
    record.trace = text(json, "trace");
    record.span = text(json, "span");
    record.parent = text(json, "parent");
    record.name = text(json, "name");
    record.kind = static_cast<int>(number(json, "kind").value_or(0) & 0xffU);
    record.scope = text(json, "scope");
    record.provider = number(json, "provider");
    record.by_program = text(json, "by") == "program";
    record.at = text(json, "at");
    record.task = text(json, "task");
    spans_[record.trace + record.span] = evidence_.seen.size();
    evidence_.seen.push_back(std::move(record));
  }

  SpanSeen* span_of(const Json& json) {
    const auto found = spans_.find(text(json, "trace") + text(json, "span"));
    return found == spans_.end() ? nullptr : &evidence_.seen[found->second];
  }
  void end(const Json& json) {
    if (SpanSeen* span = span_of(json)) span->end = static_cast<Nanoseconds>(number(json, "t").value_or(0));
  }
  void activate(const Json& json) {
    if (SpanSeen* span = span_of(json)) span->activated = true;
  }

  void shutdown(const Json& json) {
    auto record = begun<Shutdown>(json);
    record.provider = number(json, "provider").value_or(0);
    evidence_.shutdowns.push_back(std::move(record));
  }

  void signal(const Json& json) {
    auto record = begun<SignalHandled>(json);
    record.signal = text(json, "signal");
    record.handler = text(json, "handler");
    evidence_.signals.push_back(std::move(record));
  }

  void kill(const Json& json) {
    auto record = begun<Killed>(json);
    record.target = pid_in(json, "to");
    record.signal = text(json, "signal");
    evidence_.kills.push_back(std::move(record));
  }

  void exit(const Json& json) {
    auto record = begun<Exited>(json);
    record.how = text(json, "how");
    record.code = static_cast<int>(number(json, "code").value_or(0) & 0xffU);
    evidence_.exits.push_back(std::move(record));
  }

  void full(const Json& /*json*/) { ++evidence_.records_lost; }
  void nothing(const Json& /*json*/) {}

  pid_t pid_;
  Evidence& evidence_;
  std::unordered_map<std::string, std::size_t> spans_;  // to places in Evidence::seen
};

std::size_t count_of(const Evidence& e) {
  return e.providers.size() + e.sets.size() + e.processors.size() + e.instrumented.size() +
         e.middlewares.size() + e.forks.size() + e.seen.size() + e.shutdowns.size() + e.signals.size() +
         e.kills.size() + e.exits.size();
}

}  // namespace

void read_records(pid_t pid, std::string_view text, Evidence& evidence) {
  Reader reader(pid, evidence);
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    bool taken = false;
    try {
      taken = line.size() <= kRecordMax && count_of(evidence) < kRecordsMax &&
              reader.take(Json::parse(line.begin(), line.end(), nullptr, false));
    } catch (const std::exception&) {  // text that is not UTF-8, where it is written out again
      taken = false;
    }
    if (!taken) ++evidence.records_lost;
  }
}

}  // namespace runmain::doctor
