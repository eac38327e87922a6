#include "telemetry.hpp"

#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "context.hpp"
#include "process.hpp"
#include "settings.hpp"
#include "span.hpp"

namespace runmain::child {

constinit std::atomic<Telemetry*> g_telemetry{nullptr};

namespace {

class Locked {
 public:
  explicit Locked(Telemetry& t) : t_(t) { pthread_mutex_lock(&t_.lock); }
  ~Locked() { pthread_mutex_unlock(&t_.lock); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  Telemetry& t_;
};

Telemetry& here() {
  Telemetry& t = process().telemetry;
  g_telemetry.store(&t, std::memory_order_release);
  return t;
}

// Needs the lock.
void configure(Telemetry& t) {
  if (t.configured) return;
  read_settings(t);
  prepare_sharing();
  t.configured = true;
}

// A version 4 UUID (RFC 9562) for a process without a role.
void make_instance_id(char (&out)[40]) {
  std::uint64_t numbers[2] = {monotonic_ns(), static_cast<std::uint64_t>(getpid())};
  (void)!getrandom(numbers, sizeof numbers, 0);
  std::uint64_t a = numbers[0];
  std::uint64_t b = numbers[1];
  a = (a & ~0xf000ULL) | 0x4000U;
  b = (b & ~(3ULL << 62U)) | 1ULL << 63U;
  std::snprintf(out, sizeof out, "%08x-%04x-%04x-%04x-%012llx", static_cast<unsigned>(a >> 32U),
                static_cast<unsigned>(a >> 16U & 0xffffU), static_cast<unsigned>(a & 0xffffU),
                static_cast<unsigned>(b >> 48U), static_cast<unsigned long long>(b & 0xffffffffffffULL));
}

// Each process that serves has an id of its own (opentelemetry.md, 52): the worker's, with another last
// group. False: the worker's is none that can be changed so.
bool make_forked_id(const char* of_worker, std::uint32_t number, char (&out)[40]) {
  constexpr std::size_t kLength = 36;
  constexpr std::size_t kGroup = 24;  // where the last one begins
  if (std::strlen(of_worker) != kLength) return false;
  char* end = nullptr;
  const unsigned long long group = std::strtoull(of_worker + kGroup, &end, 16);
  if (end != of_worker + kLength) return false;
  std::snprintf(out, sizeof out, "%.24s%012llx", of_worker, group ^ number);
  return true;
}

// Needs the lock.
void make_resource(Telemetry& t) {
  runmain_role role{};
  char own_id[40];
  ResourceOf of{nullptr, own_id, 0, 0};
  if (runmain_get_role(&role) == 0) {
    of = {role.service, role.instance_id, role.slot, role.generation};
    if (t.mailbox.process_number > 0 && make_forked_id(role.instance_id, t.mailbox.process_number, own_id))
      of.instance_id = own_id;
  } else {
    make_instance_id(own_id);
  }
  t.resource_size = encode_resource(of, t.resource, sizeof t.resource);
}

// Needs the lock. What it comes to with what is known.
Mode decide(Telemetry& t) {
  if (t.was_shut) return Mode::shut;
  const bool on = t.mailbox.header.load() != nullptr && !t.disabled && runmain_serving() != 0;
  return on ? Mode::on : Mode::off;
}

// Why spans record nothing, for runmain_telemetry_init. Needs the lock.
int why_off(Telemetry& t) {
  if (t.was_shut || t.disabled) {
    std::snprintf(t.reason, sizeof t.reason, "telemetry: %s",
                  t.was_shut ? "was shut down" : "switched off by OTEL_SDK_DISABLED");
    return -ECANCELED;
  }
  if (runmain_serving() == 0) {
    char why[256];
    runmain_reason(why, sizeof why);
    std::snprintf(t.reason, sizeof t.reason, "telemetry: this process does not serve: %.255s", why);
    return -EPERM;
  }
  std::snprintf(t.reason, sizeof t.reason, "telemetry: no mailbox came with the role");
  return -ENOTCONN;
}

void settle(Telemetry& t) {
  claim_by_the_way(process());  // without our lock: it calls the program's drain callback
  const Locked locked(t);
  if (t.mode.load() != Mode::undecided) return;
  configure(t);
  t.mode.store(decide(t), std::memory_order_release);
}

}  // namespace

Telemetry& telemetry() {
  Telemetry& t = here();
  if (t.mode.load(std::memory_order_acquire) == Mode::undecided) settle(t);
  return t;
}

}  // namespace runmain::child

using namespace runmain::child;  // NOLINT: these are its functions

int runmain_telemetry_init(const char* file, int line) {
  Telemetry& t = telemetry();
  const Locked locked(t);
  if (t.init_line != 0) {
    std::snprintf(t.reason, sizeof t.reason, "telemetry: already initialised at %s:%d by process %d",
                  t.init_file, t.init_line, t.init_pid);
    return -EALREADY;
  }
  std::snprintf(t.init_file, sizeof t.init_file, "%s", file != nullptr ? file : "?");
  t.init_line = line != 0 ? line : -1;
  t.init_pid = getpid();
  t.reason[0] = '\0';
  return t.mode.load() == Mode::on ? 0 : why_off(t);
}

size_t runmain_telemetry_reason(char* buffer, size_t size) {
  Telemetry& t = here();
  const Locked locked(t);
  if (size > 0) copy_text(buffer, size, t.reason);
  return std::strlen(t.reason);
}

int runmain_telemetry_on(void) { return here().mode.load(std::memory_order_acquire) == Mode::on ? 1 : 0; }

// A span is in the mailbox before its end returns, so there is never anything left to do.
int runmain_force_flush(void) { return 0; }

int runmain_telemetry_shutdown(void) {
  Telemetry& t = here();
  const Locked locked(t);
  if (t.was_shut) return -EALREADY;
  t.was_shut = true;
  t.mode.store(Mode::shut, std::memory_order_release);
  return 0;
}

int runmain_mailbox_attach(int memfd, int wake_fd) {
  Telemetry& t = here();
  const Locked locked(t);
  if (t.mailbox.header.load() != nullptr) return -EALREADY;
  configure(t);
  const int opened = open_mailbox(t.mailbox, memfd, wake_fd, process_start(process()));
  if (opened != 0) return opened;
  register_sharing();
  make_resource(t);  // the instance id goes by how many processes have taken the mailbox up before
  if (process().environment.executed) close_lanes_of_before(t.mailbox);
  t.mode.store(decide(t), std::memory_order_release);
  return 0;
}

int runmain_set_sampler(const struct runmain_sampler* sampler) {
  const bool known =
      sampler->kind >= RUNMAIN_SAMPLER_ALWAYS_ON && sampler->kind <= RUNMAIN_SAMPLER_PROBABILITY;
  const bool is_probability = sampler->kind == RUNMAIN_SAMPLER_PROBABILITY;
  const bool has_ratio = is_probability || sampler->kind == RUNMAIN_SAMPLER_RATIO;
  const bool ratio_fits = sampler->ratio >= 0 && sampler->ratio <= 1 &&
                          !(is_probability && sampler->ratio > 0 && sampler->ratio < kProbabilityMin);
  if (sampler->decide == nullptr && (!known || (has_ratio && !ratio_fits))) return -EINVAL;
  Telemetry& t = here();
  const Locked locked(t);
  if (sampler->decide != nullptr) {
    t.sampler.ignore_parent.store(sampler->ignore_parent);
    t.sampler.custom.store(sampler, std::memory_order_release);
  } else {
    set_sampler(t.sampler, sampler->kind, sampler->ignore_parent != 0, sampler->ratio);
  }
  return 0;
}

int runmain_set_id_generator(const struct runmain_id_generator* generator) {
  if (generator != nullptr && generator->trace_id == nullptr && generator->span_id == nullptr) return -EINVAL;
  here().id_generator.store(generator, std::memory_order_release);
  return 0;
}

size_t runmain_sampler_description(char* buffer, size_t size) {
  Telemetry& t = here();
  const Locked locked(t);
  configure(t);
  return describe(t.sampler, buffer, size);
}

void runmain_get_span_limits(struct runmain_span_limits* limits) {
  Telemetry& t = here();
  const Locked locked(t);
  configure(t);
  *limits = {t.limits.attributes,         t.limits.events,      t.limits.links, t.limits.attributes_of_event,
             t.limits.attributes_of_link, t.limits.value_length};
}

void runmain_set_span_limits(const struct runmain_span_limits* limits) {
  Telemetry& t = here();
  const Locked locked(t);
  t.limits_set = true;
  t.limits.attributes = limits->attributes;
  t.limits.events = limits->events;
  t.limits.links = limits->links;
  t.limits.attributes_of_event = limits->attributes_of_event;
  t.limits.attributes_of_link = limits->attributes_of_link;
  t.limits.value_length = limits->value_length;
}
