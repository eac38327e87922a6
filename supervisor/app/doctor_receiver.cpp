#include "app/doctor_receiver.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <functional>

#include "os/linux/sockets.hpp"
#include "os/loop/loop.hpp"
#include "telemetry/encoding.hpp"
#include "telemetry/trace_store.hpp"

namespace runmain::app {
namespace {

constexpr Duration kLook = std::chrono::milliseconds(20);  // at what another thread has asked for

template <std::size_t N>
std::string hex(const std::array<std::uint8_t, N>& id) {
  return telemetry::to_hex({reinterpret_cast<const char*>(id.data()), id.size()});
}

std::string attribute(const telemetry::OriginWords& words, const char* key) {
  for (const auto& [name, value] : words.resource) {
    if (name == key) return value;
  }
  return {};
}

}  // namespace

Result<os::UniqueFd> DoctorReceiver::listen(std::uint16_t& port) {
  os::Address address;
  address.host = "127.0.0.1";
  auto listener = os::open_listener(address);
  if (!listener) return listener.error();
  if (auto set = os::set_nonblocking(listener->fd.get(), true); !set) return set.error();
  port = os::port_of(*listener);
  return std::move(listener->fd);
}

DoctorReceiver::DoctorReceiver(os::UniqueFd listener, std::string secret,
                               std::function<pid_t(std::uint16_t)> sender)
    : secret_(std::move(secret)), sender_(std::move(sender)) {
  thread_ = std::thread([this, fd = listener.release()] { work(os::UniqueFd(fd)); });
}

DoctorReceiver::~DoctorReceiver() {
  ends_ = true;
  thread_.join();
}

void DoctorReceiver::work(os::UniqueFd listener) {
  os::Loop loop;
  auto receiver = std::make_unique<telemetry::Receiver>(
      loop, std::move(listener), secret_,
      [this](const telemetry::Received& received, std::function<void()> saved) {
        return take(received, saved);
      });
  while (!ends_) {
    if (reach_ == doctor::Reach::refused) receiver.reset();
    loop.turn(kLook);
  }
  receiver.reset();
}

void DoctorReceiver::die(doctor::Reach how) { reach_ = how; }

std::vector<doctor::WireSpan> DoctorReceiver::spans() const {
  const std::lock_guard lock(mutex_);
  return spans_;
}

telemetry::Taken DoctorReceiver::take(const telemetry::Received& received,
                                      const std::function<void()>& saved) {
  if (reach_ == doctor::Reach::silent)
    return telemetry::Taken::ok;  // and never saved: it waits for its answer
  const telemetry::TraceStoreLimits limits;
  const pid_t pid = received.signal == telemetry::Signal::traces ? sender_(received.peer_port) : 0;
  const std::lock_guard lock(mutex_);
  for (const telemetry::Item& item : received.items) {
    if (received.signal != telemetry::Signal::traces) break;
    const auto span = telemetry::decode_span(item.bytes, limits);
    if (!span || spans_.size() >= kSpansMax) {
      ++lost_;
      continue;
    }
    const telemetry::OriginWords origin = telemetry::decode_origin(item.origin, limits);
    doctor::WireSpan seen;
    seen.pid = pid;
    seen.connection = received.connection;
    seen.trace = hex(span->ids.trace);
    seen.span = hex(span->ids.span);
    if (span->parent) seen.parent = hex(*span->parent);
    seen.name = span->name;
    seen.kind = span->kind;
    seen.scope = origin.scope;
    seen.service = attribute(origin, "service.name");
    seen.instance_id = attribute(origin, "service.instance.id");
    seen.start_unix_nano = span->start_unix_nano;
    seen.end_unix_nano = span->end_unix_nano;
    seen.digest = std::hash<std::string_view>()(item.bytes);
    spans_.push_back(std::move(seen));
  }
  saved();
  return telemetry::Taken::ok;
}

}  // namespace runmain::app
