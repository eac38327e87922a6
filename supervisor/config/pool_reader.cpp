// How many workers a service has, how they share its sockets, and how they are renewed: the keys workers,
// balance, roll and recycle.
#include <algorithm>
#include <charconv>
#include <limits>

#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"

namespace runmain::config {
namespace {

constexpr const char* kWorkersForms = "a number, \"auto\" or a table such as { min = 2, max = 8 }";

bool is_digits(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

// "auto", a number, or { min, max }.
void ServiceReader::read_workers() {
  const Node* node = table_.find("workers");
  if (node == nullptr) return;
  std::int64_t number = 0;
  if (node->kind == Kind::string && node->text == "auto") {
    spec().workers_auto = true;
  } else if (node->kind == Kind::string && !is_digits(node->text)) {
    report().fault(node->place, "workers cannot be " + quote(node->text),
                   std::string("write ") + kWorkersForms);
  } else if (node->kind == Kind::table) {
    read_workers_range(*node);
  } else if (node->kind != Kind::integer && node->kind != Kind::string) {
    report().wrong_type(*node, "workers", kWorkersForms);
  } else if (read_integer(report(), *node, "workers", 1, kWorkersMax, number)) {
    spec().workers = static_cast<std::uint32_t>(number);
  }
}

void ServiceReader::read_workers_range(const Node& node) {
  Table table(report(), node, "workers.");
  core::ServiceSpec& service = spec();
  table.read_integer("min", 1, kWorkersMax, service.workers);
  const Node* most = table.find("max");
  std::int64_t number = 0;
  if (most == nullptr) {
    report().fault(node.place, "workers has no max",
                   "write workers = { min = 2, max = 8 }, or a number alone");
  } else if (read_integer(report(), *most, "workers.max", 1, kWorkersMax, number)) {
    if (number < service.workers) {
      report().fault(most->place, "workers.max is below min", "write min = 2, max = 8");
    } else {
      service.workers_max = static_cast<std::uint32_t>(number);
    }
  }
  table.refuse_others();
}

// Only the kernel's TCP sockets are spread over a group by a program of ours.
void ServiceReader::read_balance() {
  const Node* node = table_.find("balance");
  std::size_t choice = 0;
  if (node == nullptr || !read_choice(report(), *node, "balance", {"shared", "reuseport"}, choice)) return;
  spec().balance = choice == 0 ? core::Balance::shared : core::Balance::reuseport;
  if (choice == 0) return;
  const auto& listen = spec().listen;
  if (port_node_ != nullptr) {
    report().fault(node->place, "balance = \"reuseport\" and port exclude each other",
                   "use listen instead of port: runmain holds a socket for each worker");
  } else if (listen_node_ == nullptr) {
    report().fault(node->place, "balance = \"reuseport\" needs the key listen",
                   "add listen = \"127.0.0.1:8000\"");
  }
  for (const core::ListenSpec& one : listen) {
    if (one.kind == core::AddressKind::tcp) continue;
    report().fault(node->place,
                   "balance = \"reuseport\" cannot spread " + quote(one.text) + ", which is not TCP",
                   "leave it out, or write balance = \"shared\"");
  }
}

// A table means a gradual roll. Where two generations may not be there at a time nothing can be gradual.
void ServiceReader::read_roll() {
  core::RollSpec& roll = spec().roll;
  roll.gradual = reading_.mode == core::Mode::prod && spec().overlap;
  const Node* node = table_.find("roll");
  if (node == nullptr) return;
  std::size_t choice = 0;
  if (node->kind == Kind::string) {
    if (!read_choice(report(), *node, "roll", {"gradual", "at-once"}, choice)) return;
    roll.gradual = choice == 0;
  } else if (node->kind == Kind::table) {
    roll.gradual = true;
    read_roll_table(*node);
  } else {
    report().wrong_type(*node, "roll", "\"gradual\", \"at-once\" or a table such as { batch = 2 }");
    return;
  }
  if (roll.gradual && !spec().overlap) {
    report().fault(node->place, "a gradual roll needs overlap: generations serve side by side meanwhile",
                   port_node_ != nullptr ? "use listen instead of port, or write roll = \"at-once\""
                                         : "drop overlap = false, or write roll = \"at-once\"");
  }
}

void ServiceReader::read_roll_table(const Node& node) {
  Table table(report(), node, "roll.");
  core::RollSpec& roll = spec().roll;
  std::size_t choice = 0;
  if (const Node* order = table.find("order")) {
    if (read_choice(report(), *order, "roll.order", {"new-first", "old-first"}, choice))
      roll.order = choice == 0 ? core::RollOrder::new_first : core::RollOrder::old_first;
  }
  if (const Node* batch = table.find("batch")) read_share(*batch, "roll.batch", roll.batch);
  table.read_integer("canary", 0, kWorkersMax, roll.canary);
  const Node* canary = table.find("canary");
  const bool range = spec().workers_max > spec().workers;
  if (canary != nullptr && roll.canary >= spec().workers && roll.canary > 0 && !spec().workers_auto) {
    report().fault(canary->place,
                   "roll.canary must be less than " + std::string(range ? "workers.min" : "workers") + " (" +
                       std::to_string(spec().workers) + ")",
                   "canaries are tried while the others are old");
  }
  const Node* canary_hold = table.find("canary_hold");
  if (canary_hold != nullptr) {
    read_duration(report(), *canary_hold, "roll.canary_hold", roll.canary_hold);
    if (roll.canary == 0)
      report().fault(canary_hold->place, "roll.canary_hold needs roll.canary", "add canary = 1");
  }
  table.read("hold", roll.hold);
  table.read("hold_last", roll.hold_last);
  table.read("memory_guard", roll.memory_guard);
  table.refuse_others();
}

// A number of workers, or "25%" of them.
void ServiceReader::read_share(const Node& node, const std::string& name, core::Share& share) {
  std::int64_t number = 0;
  if (node.kind == Kind::integer) {
    if (read_integer(report(), node, name, 1, kWorkersMax, number))
      share = core::Share{static_cast<std::uint32_t>(number), 0};
  } else if (node.kind != Kind::string) {
    report().wrong_type(node, name, "a number or a part such as \"25%\"");
  } else if (const auto parsed = parse_percent(node.text)) {
    share = core::Share{0, *parsed};
  } else {
    report().fault(node.place, name + ": " + parsed.error().message, parsed.error().hint);
  }
}

void ServiceReader::read_recycle() {
  const Node* node = table_.find("recycle");
  if (node == nullptr) return;
  if (node->kind != Kind::table) {
    report().wrong_type(*node, "recycle", "a table such as { requests = 10000 }");
    return;
  }
  Table table(report(), *node, "recycle.");
  core::RecycleSpec& recycle = spec().recycle;
  std::int64_t number = 0;
  const Node* requests = table.find("requests");
  if (requests != nullptr && read_integer(report(), *requests, "recycle.requests", 1,
                                          std::numeric_limits<std::int64_t>::max(), number))
    recycle.requests = static_cast<std::uint64_t>(number);
  const Node* lifetime = table.find("lifetime");
  if (lifetime != nullptr && read_duration(report(), *lifetime, "recycle.lifetime", recycle.lifetime) &&
      recycle.lifetime <= Duration::zero())
    report().fault(lifetime->place, "recycle.lifetime must be more than 0");
  const Node* memory = table.find("memory");
  if (memory != nullptr && read_size(*memory, "recycle.memory", recycle.memory) &&
      recycle.memory < kRecycleMemoryMin)
    report().fault(memory->place, "recycle.memory must be at least 1MiB", "write a size such as \"512MB\"");
  table.read_percent("jitter", 0, 1, recycle.jitter_percent);
  if (requests == nullptr && lifetime == nullptr && memory == nullptr)
    report().fault(node->place, "recycle does not say when",
                   "write one of requests = 10000, lifetime = \"12h\", memory = \"512MB\"");
  table.refuse_others();
}

}  // namespace runmain::config
