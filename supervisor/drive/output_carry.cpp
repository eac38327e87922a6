// One ring's way: what is there goes to the terminal, then to its log, then the ring moves on.
#include <unistd.h>

#include "base/wall_time.hpp"
#include "drive/output.hpp"

namespace runmain::drive {

Output::Pumped Output::pump(std::uint32_t ring) {
  const auto stream = reader_.look(ring);
  if (!stream) return Pumped::idle;
  if (stream->consumed == stream->written) {
    tell_room(*stream, stream->consumed);
    return Pumped::idle;
  }
  return pump_bytes(*stream, service_of(stream->key.service));
}

Output::Pumped Output::pump_bytes(const OutputStream& stream, Service& service) {
  if (passes(stream, service)) return pump_through(stream, service);
  const auto flight = in_flight_.find(stream.ring);
  const bool flying = flight != in_flight_.end();
  const bool waits = terminal_.active() && terminal_.lossless();
  if (flying && waits && terminal_.written() < flight->second.mark) return Pumped::held_by_terminal;
  if (!flying && waits && terminal_.room() < kTerminalLineMax) return Pumped::held_by_terminal;
  if (!log_ready(service)) return Pumped::held_by_log;

  OutputPlan plan;
  plan.bytes = reader_.read(stream);
  plan.in_line = stream.in_line;
  plan.pty = stream.pty;
  plan.ended = stream.ended && plan.bytes.size() == stream.written - stream.consumed;
  if (flying) {
    plan.stop_at = flight->second.shown - stream.consumed;
  } else if (terminal_.active()) {
    plan.terminal = &terminal_prefix_;
    plan.terminal_room = std::min(waits ? terminal_.room() : kTerminalBufferMax, kOutputBatchMax);
    plan.terminal_colour = terminal_.colour();
    if (is_open(stream)) plan.terminal_has = prompt_->shown;
  }
  OutputBatch batch;
  if (!format(plan, stream, service, batch)) return Pumped::held_by_log;
  if (batch.taken == 0) {
    note_partial(stream, stream.consumed);
    if (is_open(stream)) show_prompt(stream, service);
    return Pumped::idle;
  }
  if (!flying && !show(stream, batch)) return Pumped::held_by_terminal;
  if (!keep(stream, batch, service)) {
    if (!flying) in_flight_[stream.ring] = InFlight{stream.consumed + batch.taken, 0};
    return Pumped::held_by_log;
  }
  const std::uint64_t consumed = stream.consumed + batch.taken;
  if (flying && consumed >= flight->second.shown) in_flight_.erase(flight);
  tell_room(stream, consumed);
  note_partial(stream, consumed);
  if (on_line_) follow_up(stream, plan, batch.taken, service);
  const bool slice_was_cut = plan.bytes.size() < stream.written - stream.consumed;
  return slice_was_cut || batch.more_waits || flying ? Pumped::more : Pumped::idle;
}

bool Output::log_ready(Service& service) {
  if (service.log == nullptr) return true;
  if (service.log->resting) return false;
  const auto ready = service.log->file->prepare(os::Loop::now());
  if (!ready) log_fault(service, ready.error());
  return ready.ok();
}

OutputPrefix Output::prefix_of(const OutputStream& stream, const Service& service) const {
  const bool worker = stream.key.is_worker();
  if (bare_ && worker && service.configured) return {};
  const std::string label = output_label(service.name, service.numbered, stream.key.slot);
  return terminal_prefix(label, label_width_, terminal_.colour(),
                         service.colour + (worker ? stream.key.slot : 0));
}

// Fills batch_ and shown_. False: the log could not be rotated.
bool Output::format(OutputPlan& plan, const OutputStream& stream, Service& service, OutputBatch& batch) {
  std::string label = output_label(service.name, service.numbered, stream.key.slot);
  if (plan.terminal != nullptr) terminal_prefix_ = prefix_of(stream, service);
  if (service.log == nullptr) label += ":" + std::to_string(stream.key.generation);
  batch_time_ns_ = wall_now_ns();
  file_prefix_ = file_prefix(stamp_.text(batch_time_ns_), label);
  plan.file = &file_prefix_;
  for (;;) {
    batch_.clear();
    shown_.clear();
    OutputFile* file = service.log != nullptr ? service.log->file.get() : nullptr;
    plan.file_room = file != nullptr ? file->room() : kOutputBatchMax;
    plan.at_least_one = file == nullptr || !file->can_rotate();
    batch = format_output(plan, batch_, shown_);
    if (batch.taken > 0 || !batch.more_waits || plan.at_least_one) return true;
    if (const auto rotated = file->rotate(os::Loop::now()); !rotated) {
      log_fault(service, rotated.error());
      return false;
    }
  }
}

// False: the terminal is a pipe and has not taken all yet; the log waits for it.
bool Output::show(const OutputStream& stream, const OutputBatch& batch) {
  if (shown_.empty()) return true;
  terminal_.show(shown_, is_open(stream));
  prompt_.reset();
  if (!terminal_.lossless() || terminal_.written() >= terminal_.accepted()) return true;
  in_flight_[stream.ring] = InFlight{stream.consumed + batch.taken, terminal_.accepted()};
  return false;
}

bool Output::keep(const OutputStream& stream, const OutputBatch& batch, Service& service) {
  const std::uint64_t consumed = stream.consumed + batch.taken;
  if (service.log == nullptr) {
    record_.begin(stream, OutputPlace{0, 0, history_.end(service.id)});
    history_.append(service.id, batch_.view());
    record_.commit(stream, consumed, batch.in_line);
    return true;
  }
  Log& log = *service.log;
  if (log.file->can_cut()) record_.begin(stream, log.file->place());
  if (const auto appended = log.file->append(batch_.view()); !appended) {
    record_.abandon();
    log_fault(service, appended.error());
    return false;
  }
  record_.commit(stream, consumed, batch.in_line);
  if (std::exchange(log.faulty, false)) {
    tell_("log file " + log.file->path() + " is written again, nothing was lost");
  }
  return true;
}

void Output::log_fault(Service& service, const Error& error) {
  Log& log = *service.log;
  log.resting = true;
  if (!retry_armed_) retry_->set(os::Loop::now() + kOutputRetry);
  retry_armed_ = true;
  if (std::exchange(log.faulty, true)) return;
  tell_("log file " + log.file->path() + ": " + error.message + "; holding the output of " + service.name +
        ", retrying in 1 s");
}

// The keeper waits for room in a full ring, and for the last byte of one that ended. The bit says that it has
// been told and has not looked yet.
void Output::tell_room(const OutputStream& stream, std::uint64_t consumed) {
  const bool done = stream.ended && consumed == stream.written;
  if (!done && board_->rings[stream.ring].blocked.load() == 0) return;
  const std::uint64_t bit = 1ULL << (stream.ring % 64);
  if ((board_->room[stream.ring / 64].fetch_or(bit) & bit) != 0) return;
  const std::uint64_t one = 1;
  (void)!write(fds_.space_event, &one, sizeof one);  // it can only fail because it is set already
}

void Output::follow_up(const OutputStream& stream, const OutputPlan& plan, std::size_t taken,
                       const Service& service) {
  const OnLine on_line = on_line_;  // it may end the following
  OutputSplitter splitter(plan.bytes, plan.in_line, plan.ended);
  OutputPiece piece;
  OutputLine line;
  line.service = service.id;
  line.service_name = service.name;
  line.slot = stream.key.slot;
  line.generation = stream.key.generation;
  line.build = stream.key.is_build();
  line.time_ns = batch_time_ns_;
  while (splitter.taken() < taken && splitter.next(piece)) {
    line.continues = piece.continues;
    line.text = plan.pty ? without_returns(piece.text) : piece.text;
    on_line(line);
  }
}

}  // namespace runmain::drive
