// Output that is shown before its line has an end: a terminal that one child has for itself, and prompts.
#include <algorithm>

#include "base/text.hpp"
#include "drive/output.hpp"

namespace runmain::drive {

bool Output::passes(const OutputStream& stream, const Service& service) const {
  return stream.pty && service.configured && stream.key.is_worker() && passes_through();
}

// The bytes go to the terminal as far as it takes them, and lines of what it took to the log. A terminal that
// is stopped holds the ring, and so the child: nothing is dropped, a cut sequence would spoil the screen.
Output::Pumped Output::pump_through(const OutputStream& stream, Service& service) {
  if (!log_ready(service)) return Pumped::held_by_log;
  OutputPlan plan;
  plan.bytes = reader_.read(stream);
  const bool slice_was_cut = plan.bytes.size() < stream.written - stream.consumed;
  Passed& entry = passed_[stream.ring];
  if (entry.key != stream.key) entry = Passed{stream.key, stream.consumed};
  std::uint64_t& passed = entry.upto;
  passed = std::clamp(passed, stream.consumed, stream.consumed + plan.bytes.size());
  const std::string_view fresh = plan.bytes.substr(passed - stream.consumed);
  const std::size_t fit = std::min(fresh.size(), terminal_.room());
  terminal_.pass(fresh.substr(0, fit));
  passed += fit;
  plan.bytes = plan.bytes.substr(0, passed - stream.consumed);
  plan.in_line = stream.in_line;
  plan.pty = true;
  plan.ended = stream.ended && passed == stream.written;
  OutputBatch batch;
  if (!format(plan, stream, service, batch)) return Pumped::held_by_log;
  const std::uint64_t consumed = stream.consumed + batch.taken;
  if (batch.taken > 0) {
    if (!keep(stream, batch, service)) return Pumped::held_by_log;
    tell_room(stream, consumed);
    if (on_line_) follow_up(stream, plan, batch.taken, service);
  }
  note_partial(stream, consumed);
  if (stream.ended && consumed == stream.written) passed_.erase(stream.ring);
  if (fit < fresh.size()) return Pumped::held_by_terminal;
  return batch.more_waits || (slice_was_cut && batch.taken > 0) ? Pumped::more : Pumped::idle;
}

void Output::note_partial(const OutputStream& stream, std::uint64_t consumed) {
  if (!stream.pty) return;
  if (!closely_ && (stream.ended || consumed == stream.written)) {
    partial_.erase(stream.ring);
    return;
  }
  partial_.insert(stream.ring);
  quiet_->set(os::Loop::now() + kOutputQuiet);
}

void Output::quiet() {
  std::vector<ChildKey> keys;
  for (const std::uint32_t ring : std::exchange(partial_, {})) {
    const auto stream = reader_.look(ring);
    if (!stream) continue;
    const Service& service = service_of(stream->key.service);
    if (stream->consumed != stream->written && !passes(*stream, service)) show_prompt(*stream, service);
    if (stream->key.is_worker()) keys.push_back(stream->key);
  }
  reader_.release();
  if (on_quiet_ && !keys.empty()) on_quiet_(keys);
}

bool Output::is_open(const OutputStream& stream) const {
  return prompt_ && prompt_->ring == stream.ring && prompt_->from == stream.consumed && terminal_.line_open();
}

// What is new of it goes on where it stands, with the backspaces of an answer that is being typed; a carriage
// return begins it anew.
void Output::show_prompt(const OutputStream& stream, const Service& service) {
  if (!terminal_.active() || !terminal_.tty() || in_flight_.contains(stream.ring)) return;
  const std::string_view bytes = reader_.read(stream);
  if (bytes.size() > kOutputPromptMax || bytes.find('\n') != std::string_view::npos) return;
  const bool open = is_open(stream);
  std::string_view fresh = bytes.substr(open ? std::min(prompt_->shown, bytes.size()) : 0);
  const bool anew = fresh.find('\r') != std::string_view::npos;
  if (anew) fresh = bytes;
  std::string text;
  if (open && anew) text = "\r";
  if (!open || anew) text += prefix_of(stream, service).start;
  for (;;) {
    const std::size_t back = fresh.find('\b');
    append_printable(text, fresh.substr(0, back), false);
    if (back == std::string_view::npos) break;
    text.push_back('\b');
    fresh.remove_prefix(back + 1);
  }
  terminal_.show_open(text, open);
  if (terminal_.line_open()) prompt_ = Prompt{stream.ring, stream.consumed, bytes.size()};
}

}  // namespace runmain::drive
