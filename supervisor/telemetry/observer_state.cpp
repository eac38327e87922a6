#include "telemetry/observer_state.hpp"

#include "base/archive.hpp"

namespace runmain::telemetry {

std::string encode(const ObserverState& state,
                   const std::vector<std::pair<ChildKey, std::string_view>>& mailboxes) {
  std::string bytes;
  BinaryWriter out(bytes);
  out.put(state.version);
  out.put(state.outboxes);
  out.put(state.ledgers);
  out.put(state.folded);
  out.put(state.ended);
  out.put(state.told);
  out.put(state.receiving);
  out.put(state.counters);
  out.put(state.begun_unix_nano);
  out.put(state.unanswered);
  out.put_unsigned(mailboxes.size());
  for (const auto& [key, cursor] : mailboxes) {
    out.put(key);
    bytes += cursor;
  }
  return bytes;
}

bool decode(std::string_view bytes, ObserverState& state) {
  std::uint32_t version = 0;
  BinaryReader(bytes).get(version);
  return version == kStateVersion && from_binary(bytes, state);
}

}  // namespace runmain::telemetry
