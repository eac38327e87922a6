#include "settings.hpp"

#include <errno.h>
#include <strings.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "context.hpp"

namespace runmain::child {
namespace {

enum Warning : unsigned {
  kWarnDisabled,
  kWarnSampler,
  kWarnRatio,
  kWarnLimit,
  kWarnConfigFile,
  kWarnRatioOfChild,
  kWarnNotRandom,
  kWarnZeroId,
};

// nullptr for an empty one.
const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? nullptr : value;
}

bool read_boolean(const char* name) {
  const char* value = setting(name);
  if (value == nullptr) return false;
  if (strcasecmp(value, "true") == 0) return true;
  if (strcasecmp(value, "false") != 0)
    warn_once(kWarnDisabled, "%s=%s is no boolean, taking it as false", name, value);
  return false;
}

// The first of two variables that says a number.
void read_limit(std::atomic<std::uint32_t>& out, const char* name, const char* general,
                std::uint32_t otherwise) {
  for (const char* variable : {name, general}) {
    const char* value = variable != nullptr ? setting(variable) : nullptr;
    if (value == nullptr) continue;
    char* end = nullptr;
    errno = 0;
    const unsigned long long number = std::strtoull(value, &end, 10);
    if (*value >= '0' && *value <= '9' && *end == '\0' && errno == 0) {
      out.store(number < RUNMAIN_NO_LIMIT ? static_cast<std::uint32_t>(number) : RUNMAIN_NO_LIMIT);
      return;
    }
    warn_once(kWarnLimit, "%s=%s is no number, ignoring", variable, value);
  }
  out.store(otherwise);
}

// A decimal number with "." whatever the locale says, which strtod(3) would ask.
bool parse_ratio(const char* text, double& out) {
  double value = 0;
  double unit = 1;
  bool point = false;
  bool digits = false;
  for (; (*text >= '0' && *text <= '9') || (*text == '.' && !point); ++text) {
    if (*text == '.') {
      point = true;
      continue;
    }
    digits = true;
    if (point) unit /= 10;
    value = point ? value + unit * (*text - '0') : value * 10 + (*text - '0');
  }
  if (digits && (*text == 'e' || *text == 'E')) {
    char* end = nullptr;
    const long exponent = std::strtol(text + 1, &end, 10);
    if (end == text + 1 || exponent < -300 || exponent > 300) return false;
    for (long i = 0; i < std::labs(exponent); ++i) value = exponent < 0 ? value / 10 : value * 10;
    text = end;
  }
  out = value;
  return digits && *text == '\0' && value >= 0 && value <= 1;
}

double read_ratio() {
  const char* value = setting("OTEL_TRACES_SAMPLER_ARG");
  double ratio = 1;
  if (value == nullptr || parse_ratio(value, ratio)) return ratio;
  warn_once(kWarnRatio, "OTEL_TRACES_SAMPLER_ARG=%s is none of 0 to 1, ignoring", value);
  return 1;
}

void read_sampler(SamplerState& state) {
  static constexpr struct {
    const char* name;
    std::uint32_t kind;
    bool ignore_parent;
  } kSamplers[] = {
      {"always_on", RUNMAIN_SAMPLER_ALWAYS_ON, true},
      {"always_off", RUNMAIN_SAMPLER_ALWAYS_OFF, true},
      {"traceidratio", RUNMAIN_SAMPLER_RATIO, true},
      {"parentbased_always_on", RUNMAIN_SAMPLER_ALWAYS_ON, false},
      {"parentbased_always_off", RUNMAIN_SAMPLER_ALWAYS_OFF, false},
      {"parentbased_traceidratio", RUNMAIN_SAMPLER_RATIO, false},
  };
  const char* value = setting("OTEL_TRACES_SAMPLER");
  for (const auto& s : kSamplers) {
    if (value == nullptr || std::strcmp(value, s.name) != 0) continue;
    set_sampler(state, s.kind, s.ignore_parent, s.kind == RUNMAIN_SAMPLER_RATIO ? read_ratio() : 1);
    return;
  }
  if (value != nullptr) warn_once(kWarnSampler, "OTEL_TRACES_SAMPLER=%s is unknown, ignoring", value);
  set_sampler(state, RUNMAIN_SAMPLER_ALWAYS_ON, false, 1);
}

// The trace id's last 8 bytes against the bound, as other SDKs do it: a trace is sampled everywhere or
// nowhere.
bool is_below(const std::uint8_t* trace_id, std::uint64_t bound) {
  std::uint64_t number = 0;
  for (unsigned i = 8; i < 16; ++i) number = number << 8U | trace_id[i];
  return (number >> 1U) < bound;
}

// sdk.md, "ProbabilitySampler".
Verdict decide_by_probability(std::uint64_t threshold, const Sampling& span) {
  SamplingState before{false, false, 0, kNeverSampled};
  if (span.trace_state != nullptr) before = read_sampling_state(span.trace_state);
  if (!before.has_randomness) {
    before.randomness = randomness_of(load8(span.trace_id + 8));
    if (span.parent != nullptr && (span.parent->span.flags & RUNMAIN_FLAG_RANDOM) == 0)
      warn_once(
          kWarnNotRandom,
          "ProbabilitySampler takes trace ids for random whose flag does not say so: callers should use W3C "
          "Trace Context, level 2");
  }
  if (before.randomness < threshold) return {false, before.has_threshold ? kThresholdErased : kThresholdKept};
  return {true, before.threshold == threshold ? kThresholdKept : threshold};
}

// With as many digits as it takes to tell two of them apart, at least 6 behind the point.
void name_probability(double ratio, char* buffer, std::size_t size) {
  char digits[24];
  constexpr double kUnit = 1e18;
  constexpr std::size_t kDecimals = 18;
  const auto number = static_cast<unsigned long long>(ratio * kUnit + 0.5);
  std::snprintf(digits, sizeof digits, "%0*llu", static_cast<int>(kDecimals) + 1, number);
  std::size_t end = kDecimals + 1;
  while (end > 7 && digits[end - 1] == '0') --end;
  std::snprintf(buffer, size, "ProbabilitySampler{%.1s.%.*s}", digits, static_cast<int>(end - 1), digits + 1);
}

const char* name_of(const SamplerState& state, char* buffer, std::size_t size) {
  switch (state.kind.load()) {
    case RUNMAIN_SAMPLER_ALWAYS_OFF: return "AlwaysOffSampler";
    case RUNMAIN_SAMPLER_RATIO: {
      const auto millionths = static_cast<unsigned>(state.ratio.load() * 1e6 + 0.5);
      std::snprintf(buffer, size, "TraceIdRatioBased{%u.%06u}", millionths / 1'000'000,
                    millionths % 1'000'000);
      return buffer;
    }
    case RUNMAIN_SAMPLER_PROBABILITY: name_probability(state.ratio.load(), buffer, size); return buffer;
    default: return "AlwaysOnSampler";
  }
}

}  // namespace

void warn_once(unsigned about, const char* format, ...) {
  static constinit std::atomic<std::uint32_t> warned{
      0};  // kept by a forked child: it has the same environment
  const std::uint32_t bit = 1U << about;
  if ((warned.load(std::memory_order_relaxed) & bit) != 0 || (warned.fetch_or(bit) & bit) != 0) return;
  char text[512] = "runmain: ";
  std::size_t size = std::strlen(text);
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text + size, sizeof text - size - 1, format, arguments);
  va_end(arguments);
  size = std::strlen(text);
  text[size] = '\n';
  (void)!write(STDERR_FILENO, text, size + 1);
}

void warn_of_zero_id() {
  warn_once(kWarnZeroId, "the id generator has answered an id of only zeros, taking a random one");
}

void read_settings(Telemetry& t) {
  t.disabled = read_boolean("OTEL_SDK_DISABLED");
  if (setting("OTEL_CONFIG_FILE") != nullptr)
    warn_once(kWarnConfigFile,
              "OTEL_CONFIG_FILE is not supported and the other OTEL_ variables count, ignoring");
  if (t.sampler.kind.load() == 0 && t.sampler.custom.load() == nullptr) read_sampler(t.sampler);
  if (t.limits_set) return;
  constexpr std::uint32_t kCount = 128;
  const char* const count = "OTEL_ATTRIBUTE_COUNT_LIMIT";
  read_limit(t.limits.attributes, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", count, kCount);
  read_limit(t.limits.events, "OTEL_SPAN_EVENT_COUNT_LIMIT", nullptr, kCount);
  read_limit(t.limits.links, "OTEL_SPAN_LINK_COUNT_LIMIT", nullptr, kCount);
  read_limit(t.limits.attributes_of_event, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", count, kCount);
  read_limit(t.limits.attributes_of_link, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", count, kCount);
  read_limit(t.limits.value_length, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
             "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", RUNMAIN_NO_LIMIT);
}

void set_sampler(SamplerState& state, std::uint32_t kind, bool ignore_parent, double ratio) {
  state.ratio.store(ratio);
  state.bound.store(ratio >= 1 ? 1ULL << 63U : static_cast<std::uint64_t>(ratio * 9223372036854775808.0));
  // Never is no probability.
  if (kind == RUNMAIN_SAMPLER_PROBABILITY && ratio <= 0) kind = RUNMAIN_SAMPLER_ALWAYS_OFF;
  if (kind == RUNMAIN_SAMPLER_PROBABILITY) state.threshold.store(threshold_of(ratio));
  state.ignore_parent.store(ignore_parent ? 1 : 0);
  state.kind.store(kind);
  state.custom.store(nullptr);
}

Verdict as_parent(const runmain_context& parent) {
  const bool sampled = (parent.span.flags & RUNMAIN_FLAG_SAMPLED) != 0;
  // What was checked where it came in is not again.
  if (parent.trace_state == nullptr || parent.span.is_remote == 0) return {sampled, kThresholdKept};
  const SamplingState state = read_sampling_state(parent.trace_state);
  const std::uint64_t randomness =
      state.has_randomness ? state.randomness : randomness_of(load8(parent.span.trace_id + 8));
  const bool fits = !state.has_threshold || sampled == (randomness >= state.threshold);
  return {sampled, fits ? kThresholdKept : kThresholdErased};
}

Verdict decide(const SamplerState& state, const Sampling& span) {
  if (span.parent != nullptr && state.ignore_parent.load(std::memory_order_relaxed) == 0)
    return as_parent(*span.parent);
  if (const runmain_sampler* custom = state.custom.load(std::memory_order_acquire)) {
    runmain_sampling in{};
    in.parent = span.parent;
    std::memcpy(in.trace_id, span.trace_id, sizeof in.trace_id);
    in.name = span.name;
    in.kind = span.kind;
    if (span.start != nullptr) {
      in.attribute_count = static_cast<std::uint32_t>(span.start->attribute_count);
      in.attributes = span.start->attributes;
    }
    return {custom->decide(custom->data, &in) != 0, kThresholdKept};
  }
  switch (state.kind.load(std::memory_order_acquire)) {
    case RUNMAIN_SAMPLER_ALWAYS_OFF: return {false, kThresholdKept};
    case RUNMAIN_SAMPLER_RATIO:
      if (span.parent != nullptr)  // sdk.md, "TraceIdRatioBased": other SDKs may decide otherwise
        warn_once(kWarnRatioOfChild,
                  "TraceIdRatioBased decides for a span with a parent, which is subject to change: use "
                  "ProbabilitySampler, or ParentBased");
      return {is_below(span.trace_id, state.bound.load(std::memory_order_relaxed)), kThresholdKept};
    case RUNMAIN_SAMPLER_PROBABILITY:
      return decide_by_probability(state.threshold.load(std::memory_order_relaxed), span);
    default: return {true, kThresholdKept};
  }
}

std::size_t describe(const SamplerState& state, char* buffer, std::size_t size) {
  char name[64];
  const runmain_sampler* custom = state.custom.load();
  const char* root = name_of(state, name, sizeof name);
  if (custom != nullptr) root = custom->description != nullptr ? custom->description : "Custom";
  const int n =
      state.ignore_parent.load() != 0
          ? std::snprintf(buffer, size, "%s", root)
          : std::snprintf(buffer, size,
                          "ParentBased{root:%s,remoteParentSampled:AlwaysOnSampler,"
                          "remoteParentNotSampled:AlwaysOffSampler,localParentSampled:AlwaysOnSampler,"
                          "localParentNotSampled:AlwaysOffSampler}",
                          root);
  return n < 0 ? 0 : static_cast<std::size_t>(n);
}

}  // namespace runmain::child
