// The wire names of facts, and what `number` and `text` mean in each. `service`, `slot`, `generation` and
// `pid` are set where they make sense.
#include "core/effect.hpp"

namespace runmain::core {

const char* type_name(FactType type) {
  switch (type) {
    // The service's first children (or the children that a crash took) are on their way. text: the reason.
    case FactType::service_starting: return "service.starting";
    // It cannot start yet. text: "waits for db".
    case FactType::service_waiting: return "service.waiting";
    // Every slot has a ready worker. number: the generation.
    case FactType::service_ready: return "service.ready";
    // A slot waits before its next start. number: milliseconds until then.
    case FactType::service_backoff: return "service.backed_off";
    // Given up until somebody asks or a file changes. text: why.
    case FactType::service_failed: return "service.failed";
    // Its children are asked to stop.
    case FactType::service_stopping: return "service.stopping";
    // The last child is gone and nothing of it is left.
    case FactType::service_stopped: return "service.stopped";
    // Every worker ended by itself and is not to run again.
    case FactType::service_done: return "service.done";
    // It is gone from the configuration, and so is its last child. text: its name.
    case FactType::service_removed: return "service.removed";
    // number: the attempt. text: the reason (start, change, crash, scale, recycle).
    case FactType::child_started: return "child.started";
    // Nothing was started. number: errno. text: the detail and what follows from it.
    case FactType::child_spawn_failed: return "child.spawn_failed";
    // number: milliseconds since the start. text: how it is known, and behind a blank where it listens.
    case FactType::child_ready: return "child.ready";
    // number: the wait status, -1 if unknown. text: in words.
    case FactType::child_exited: return "child.exited";
    // The same, of a child that was asked to end. number, text: as above.
    case FactType::child_stopped: return "child.stopped";
    // Not ready in time. number: the limit in milliseconds; text: what it does instead, as seen from outside.
    case FactType::child_not_ready: return "child.not_ready";
    // It did not go when asked and is killed with its tree. number: the limit in milliseconds.
    case FactType::child_stop_timeout: return "child.stop_timed_out";
    // Processes that could not be killed. number: how many. text: which.
    case FactType::child_survivors: return "child.survivors_left";
    // text: what the child says of itself.
    case FactType::child_status: return "child.status_told";
    // A process got the role. number: its pid. text: its runtime.
    case FactType::child_claimed: return "child.claimed";
    // A process was refused the role. number: its pid. text: why.
    case FactType::child_claim_refused: return "child.claim_refused";
    // number: the interval in milliseconds; 0 when it asked for its own end.
    case FactType::child_watchdog_missed: return "child.watchdog_missed";
    // Changes are gathered until they stop coming. number: so far.
    case FactType::reload_settling: return "reload.settling";
    // number: the attempt.
    case FactType::reload_building: return "reload.building";
    // The old generation serves on. number: the wait status. text: in words.
    case FactType::reload_build_failed: return "reload.build_failed";
    // number: the new generation. text: the reason.
    case FactType::reload_starting: return "reload.starting";
    // number: milliseconds since the first change, or since it was asked for. text: where they went, each in
    // milliseconds: "settle 50, build 1200, start 80".
    case FactType::reload_done: return "reload.done";
    // text: why, and what serves now.
    case FactType::reload_failed: return "reload.failed";
    // number: reloads in a row; text: the files that cause them, which reload nothing from now on.
    case FactType::reload_loop: return "reload.loop";
    // One more reload follows the one in progress.
    case FactType::reload_queued: return "reload.queued";
    // A change while a start is under way, and on_change is ignore. number: so far.
    case FactType::reload_ignored: return "reload.ignored";
    // A change, and on_change is a signal. number: the signal.
    case FactType::reload_signalled: return "reload.signalled";
    // Every service that is wanted is ready or done. number: how many.
    case FactType::all_ready: return "services.all_ready";
    // number: the signal, 0 for a command.
    case FactType::shutdown_started: return "shutdown.started";
    // number: the signal.
    case FactType::shutdown_forced: return "shutdown.forced";
    // number: the exit status.
    case FactType::shutdown_done: return "shutdown.done";
    // number: heads before this one.
    case FactType::head_started: return "head.started";
    // It waits at its terminal for a person: its deadlines stand still.
    case FactType::child_waits: return "child.waits";
    // It does not any more.
    case FactType::child_goes_on: return "child.goes_on";
    // A child waits at its terminal: changes are gathered until it does not. number: so far.
    case FactType::reload_waits: return "reload.waits";
    // Of a gradual roll. number: slots that have the new generation; text: "2 of 4", "canary 1 of 4, held
    // 10000 ms".
    case FactType::reload_step: return "reload.step";
    // There is no room for a batch more, so the old ones go first. text: how much there is, and how much it
    // takes.
    case FactType::reload_old_first: return "reload.old_first";
    // After a roll that failed every slot is back at the old generation. number: that one.
    case FactType::reload_restored: return "reload.restored";
    // It has answered all that it accepted. number: milliseconds since it was asked.
    case FactType::child_drained: return "child.drained";
    // It is well, and is replaced. text: "1000 requests", "lifetime 3600 s", "memory 600 MiB"; "exited with
    // status 0" of one that has ended by itself.
    case FactType::child_recycled: return "child.recycled";
    // A signal has stopped it. number: it may stay so for so many milliseconds, 0: for ever.
    case FactType::child_frozen: return "child.frozen";
    // A look at its health failed. number: in a row; text: what was seen.
    case FactType::child_unwell: return "child.unwell";
    // A look failed, and it cannot help it: others have the CPUs. text: what was seen.
    case FactType::child_starved: return "child.starved";
    // It answers that it is not well, and is replaced. number: milliseconds until then; text: what was seen.
    case FactType::child_replaced: return "child.replaced";
    // It is ended because it hangs. number: milliseconds; text: how.
    case FactType::child_hung: return "child.hung";
    // Given up; the other slots go on. text: why.
    case FactType::slot_failed: return "slot.failed";
    // number: workers from now on. text: who wanted it ("command", "load", "signal").
    case FactType::service_scaled: return "service.scaled";
    // A process has shut it down. number: errno of listening again, 0: it listens. slot: whose it is, where
    // sockets are per slot; text: the address.
    case FactType::listener_shut: return "listener.shut";
    // A signal would have scaled it beyond its bounds. number: workers, as before. text: the bounds.
    case FactType::service_scale_refused: return "service.scale_refused";
    // Every worker got it, too. number: the signal. text: how many workers.
    case FactType::signal_passed_on: return "signal.passed_on";
    // Nobody serves this slot's own socket any more, and it is closed. number: connections that waited in its
    // queue, which were reset; text: the address.
    case FactType::slot_closed: return "slot.closed";
    // text: the folder of the programs that are looked at; empty: as installed.
    case FactType::upgrade_started: return "upgrade.started";
    // text: why; nothing has changed.
    case FactType::upgrade_refused: return "upgrade.refused";
    // number: 1 if the keeper was executed anew, too. text: the version that runs now.
    case FactType::upgrade_done: return "upgrade.done";
  }
  return "unknown";
}

}  // namespace runmain::core
