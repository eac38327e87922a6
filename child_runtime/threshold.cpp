#include "threshold.hpp"

#include "header_text.hpp"

namespace runmain::child {

using namespace header_text;

namespace {

constexpr unsigned kDigits = 14;          // of 56 bits
constexpr int kPrecision = 4;             // significant digits of a threshold
constexpr std::size_t kSubKeysMax = 256;  // bytes of the member's value
constexpr runmain_text kMember{"ot", 2};
constexpr runmain_text kThreshold{"th", 2};
constexpr runmain_text kRandomness{"rv", 2};

// 1 to 14 lower-case digits, as the leading ones of 14.
bool read_digits(runmain_text text, std::uint64_t& out) {
  if (text.size == 0 || text.size > kDigits) return false;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < text.size; ++i) {
    const int digit = hex_digit(text.data[i], false);
    if (digit < 0) return false;
    value = value << 4U | static_cast<std::uint64_t>(digit);
  }
  out = value << (4 * (kDigits - text.size));
  return true;
}

// Without trailing zeros; "0" for zero. Returns how many, up to kDigits.
std::size_t write_digits(std::uint64_t value, char* out) {
  std::size_t size = 0;
  do {
    out[size++] = "0123456789abcdef"[value >> (4 * (kDigits - 1)) & 0xfU];
    value = value << 4U & (kNeverSampled - 1);
  } while (value != 0);
  return size;
}

// The first member's value; empty: none.
runmain_text find_member(runmain_text rest) {
  while (rest.size > 0) {
    runmain_text member = trimmed(take_until(rest, ','));
    if (same(take_until(member, '='), kMember)) return member;
  }
  return {};
}

// Copies the sub-keys of `value` but the threshold to `out`, in their order. Returns their size.
std::size_t copy_others(runmain_text value, char* out) {
  std::size_t used = 0;
  while (value.size > 0) {
    const runmain_text one = take_until(value, ';');
    runmain_text rest = one;
    if (one.size == 0 || same(take_until(rest, ':'), kThreshold)) continue;
    if (used > 0) out[used++] = ';';
    append(out, used, one);
  }
  return used;
}

// "th:c" behind the other sub-keys. False: there is no room.
bool add_threshold(std::uint64_t threshold, char* out, std::size_t& used) {
  char digits[kDigits];
  const std::size_t size = write_digits(threshold, digits);
  if (used + (used > 0 ? 1 : 0) + kThreshold.size + 1 + size > kSubKeysMax) return false;
  if (used > 0) out[used++] = ';';
  append(out, used, kThreshold);
  out[used++] = ':';
  append(out, used, {digits, size});
  return true;
}

// Without a parent's: the most common one, and short.
runmain_shared* only_threshold(std::uint64_t threshold) {
  char text[kDigits + 8];
  std::size_t used = 0;
  append(text, used, kMember);
  text[used++] = '=';
  std::size_t sub_keys = 0;
  add_threshold(threshold, text + used, sub_keys);
  return runmain_shared_make(text, used + sub_keys);
}

}  // namespace

std::uint64_t threshold_of(double probability) {
  if (probability >= 1) return 0;
  std::uint64_t bits = 0;
  std::memcpy(&bits, &probability, sizeof bits);
  // Leading digits f do not count: they are those of a small probability.
  const int exponent = static_cast<int>(bits >> 52U & 0x7ffU) - 1022;
  int digits = kPrecision + (exponent < 0 ? -exponent / 4 : 0);
  if (digits > static_cast<int>(kDigits)) digits = kDigits;
  const std::uint64_t unit = 1ULL << (4 * (kDigits - static_cast<unsigned>(digits)));
  const auto kept = static_cast<std::uint64_t>(probability * 72057594037927936.0 + 0.5);
  return (kNeverSampled - kept + unit / 2) / unit * unit;
}

SamplingState read_sampling_state(runmain_shared* trace_state) {
  SamplingState out{false, false, 0, kNeverSampled};
  runmain_text value =
      find_member({static_cast<const char*>(runmain_shared_bytes(trace_state)), trace_state->size});
  while (value.size > 0) {
    runmain_text rest = take_until(value, ';');
    const runmain_text key = take_until(rest, ':');
    if (same(key, kRandomness)) {
      out.has_randomness = rest.size == kDigits && read_digits(rest, out.randomness);
    } else if (same(key, kThreshold)) {
      // Twice is not valid.
      if (out.has_threshold || !read_digits(rest, out.threshold)) out.threshold = kNeverSampled;
      out.has_threshold = true;
    }
  }
  return out;
}

runmain_shared* with_threshold(runmain_shared* before, std::uint64_t threshold, bool& cut) {
  if (before == nullptr) return threshold == kThresholdErased ? nullptr : only_threshold(threshold);
  const runmain_text text{static_cast<const char*>(runmain_shared_bytes(before)), before->size};
  runmain_trace_state state;
  state.size = state.members = 0;
  if (runmain_trace_state_parse(&text, 1, &state) != 0 || text.size > RUNMAIN_TRACE_STATE_MAX) cut = true;
  runmain_text old{};
  const bool is_there = runmain_trace_state_get(&state, kMember, &old) != 0;
  char sub_keys[kSubKeysMax];
  std::size_t used = copy_others(old, sub_keys);
  if (threshold != kThresholdErased && !add_threshold(threshold, sub_keys, used)) cut = true;
  if (used > 0) {
    const int members = state.members + (is_there ? 0 : 1);
    runmain_trace_state_set(&state, kMember, {sub_keys, used});
    if (state.members < members) cut = true;
  } else {
    runmain_trace_state_remove(&state, kMember);
  }
  if (state.size == 0) return nullptr;
  runmain_shared* made = runmain_shared_make(state.text, state.size);
  if (made == nullptr) cut = true;
  return made;
}

}  // namespace runmain::child
