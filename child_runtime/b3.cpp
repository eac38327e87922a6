#include "b3.hpp"

#include "header_text.hpp"

namespace runmain::child {

using namespace header_text;

namespace {

// 32 digits, or 16 for what then has zeros in front. Some programs write them in upper case.
bool read_ids(runmain_text trace_id, runmain_text span_id, runmain_span_context& out) {
  out = {};
  const bool is_short = trace_id.size == 16;
  if ((!is_short && trace_id.size != 32) || span_id.size != 16) return false;
  std::uint8_t* const to = out.trace_id + (is_short ? 8 : 0);
  if (!read_hex(trace_id.data, trace_id.size / 2, true, to)) return false;
  if (!read_hex(span_id.data, 8, true, out.span_id) || !has_ids(out)) return false;
  out.is_remote = 1;
  return true;
}

}  // namespace

bool read_b3(runmain_text value, runmain_span_context& out) {
  const runmain_text trace_id = take_until(value, '-');
  const runmain_text span_id = take_until(value, '-');
  const runmain_text sampled = take_until(value, '-');
  if (!read_ids(trace_id, span_id, out)) return false;
  if (sampled.size > 1 || (sampled.size == 1 && find(text_of("01d"), sampled.data[0]) == 3)) return false;
  if (sampled.size == 1 && sampled.data[0] != '0') out.flags = RUNMAIN_FLAG_SAMPLED;
  return true;
}

bool read_b3_multi(runmain_text trace_id, runmain_text span_id, runmain_text sampled, runmain_text flags,
                   runmain_span_context& out) {
  if (!read_ids(trace_id, span_id, out)) return false;
  const bool debug = same(flags, text_of("1"));
  const bool yes = same(sampled, text_of("1")) || same_in_any_case(sampled, "true");
  if (debug || yes) out.flags = RUNMAIN_FLAG_SAMPLED;
  return true;
}

}  // namespace runmain::child
