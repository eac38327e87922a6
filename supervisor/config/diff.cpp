#include "config/diff.hpp"

#include <map>

#include "base/archive.hpp"
#include "config/text.hpp"

namespace runmain::config {
namespace {

// The key of the file for a field of ServiceSpec.
std::string key_of(const std::string& field) {
  if (field == "env_files") return "env_file";
  if (field == "backoff" || field == "success" || field == "no_restart" || field == "await_change")
    return "restart";
  if (field == "workers_max" || field == "workers_auto") return "workers";
  if (field == "die_with_keeper") return "on_keeper_death";
  return field;
}

// Walks a spec's fields and keeps each as bytes, without the places in the file.
class Fields {
 public:
  template <class T>
  void operator()(const char* name, T& value) {
    if (std::string_view(name) != "at") add(name, to_binary(value));
  }
  void operator()(const char* name, std::vector<core::ListenSpec>& value) {
    std::vector<core::ListenSpec> plain = value;
    for (core::ListenSpec& listen : plain) listen.at.clear();
    add(name, to_binary(plain));
  }
  const std::vector<std::pair<std::string, std::string>>& all() const { return all_; }

 private:
  void add(const char* name, std::string bytes) { all_.emplace_back(name, std::move(bytes)); }
  std::vector<std::pair<std::string, std::string>> all_;
};

Fields fields_of(core::ServiceSpec spec) {
  Fields out;
  spec.fields(out);
  return out;
}

std::vector<std::string> changed_keys(const core::ServiceSpec& before, const core::ServiceSpec& after) {
  const Fields a = fields_of(before);
  const Fields b = fields_of(after);
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < a.all().size(); ++i) {
    if (a.all()[i].second == b.all()[i].second) continue;
    const std::string key = key_of(a.all()[i].first);
    if (keys.empty() || keys.back() != key) keys.push_back(key);
  }
  return keys;
}

const char* name_of_mode(core::Mode mode) { return mode == core::Mode::dev ? "dev" : "prod"; }

}  // namespace

Diff diff(const core::Desired& before, const core::Desired& after) {
  Diff out;
  std::map<std::string, const core::ServiceSpec*> old;
  std::map<std::string, const core::ServiceSpec*> now;
  for (const core::ServiceSpec& service : before.services) old.emplace(service.name, &service);
  for (const core::ServiceSpec& service : after.services) now.emplace(service.name, &service);
  for (const core::ServiceSpec& service : before.services) {
    if (now.count(service.name) == 0) out.removed.push_back(service.name);
  }
  for (const core::ServiceSpec& service : after.services) {
    const auto known = old.find(service.name);
    if (known == old.end()) {
      out.added.push_back(service.name);
      continue;
    }
    std::vector<std::string> keys = changed_keys(*known->second, service);
    if (!keys.empty()) out.changed.push_back(ServiceChange{service.name, std::move(keys)});
  }
  out.mode_changed = before.mode != after.mode;
  return out;
}

std::string text(const Diff& diff, const core::Desired& before, const core::Desired& after) {
  if (diff.empty()) return "no change\n";
  std::string out;
  if (diff.mode_changed) {
    out += std::string("mode ") + name_of_mode(before.mode) + " -> " + name_of_mode(after.mode) + "\n";
  }
  for (const std::string& name : diff.removed) out += "- " + name + "\n";
  for (const std::string& name : diff.added) out += "+ " + name + "\n";
  for (const ServiceChange& change : diff.changed) {
    out += "~ " + change.name + " (" + join(change.keys, ", ") + ")\n";
  }
  return out;
}

}  // namespace runmain::config
