#include "telemetry/observer_state.hpp"

#include "base/named_archive.hpp"

namespace runmain::telemetry {

std::string encode(const ObserverState& state,
                   const std::vector<std::pair<ChildKey, std::string_view>>& mailboxes) {
  std::string bytes;
  NamedWriter out(bytes);
  out.sized([&] {
    out("version", state.version);
    out("outboxes", state.outboxes);
    out("ledgers", state.ledgers);
    out("folded", state.folded);
    out("ended", state.ended);
    out("told", state.told);
    out("receiving", state.receiving);
    out("counters", state.counters);
    out("begun", state.begun_unix_nano);
    out("unanswered", state.unanswered);
    out.field("mailboxes", [&] {
      BinaryWriter(bytes).put_unsigned(mailboxes.size());
      for (const auto& [key, cursor] : mailboxes) {
        out.put(key);
        bytes += cursor;
      }
    });
  });
  return bytes;
}

bool decode(std::string_view bytes, ObserverState& state) {
  return from_named(bytes, state) && reads_state_version(state.version);
}

}  // namespace runmain::telemetry
