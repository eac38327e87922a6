#include "base/archive.hpp"
#include "telemetry/spill.hpp"

namespace runmain::telemetry {
namespace {

struct Meta {
  ChildKey worker;
  std::uint8_t signal = 0;
  std::uint32_t items = 0;
  bool may_have_arrived = false;
  std::uint64_t run = 0;
  template <class A>
  void fields(A& a) {
    a("worker", worker);
    a("signal", signal);
    a("items", items);
    a("may_have_arrived", may_have_arrived);
    a("run", run);
  }
};

}  // namespace

std::string pack(const Parcel& parcel) {
  const Meta meta{parcel.worker, static_cast<std::uint8_t>(parcel.request.signal), parcel.request.items,
                  parcel.may_have_arrived, parcel.run};
  std::string bytes = to_binary(meta);
  bytes += parcel.request.bytes;
  return bytes;
}

std::optional<Parcel> unpack(std::string_view bytes) {
  Meta meta;
  BinaryReader in(bytes);
  in.get(meta);
  if (!in.ok() || meta.signal >= kSignals) return std::nullopt;
  Parcel parcel;
  parcel.worker = meta.worker;
  parcel.may_have_arrived = meta.may_have_arrived;
  parcel.run = meta.run;
  parcel.request = {static_cast<Signal>(meta.signal), std::string(in.rest()), meta.items};
  return parcel;
}

}  // namespace runmain::telemetry
