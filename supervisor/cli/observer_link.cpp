#include "cli/observer_link.hpp"

#include <cerrno>

namespace runmain::cli {
namespace {

control::LineFaults faults() {
  return {Error{"the observer does not answer", {}, {}, ETIMEDOUT},
          Error{"the observer ended the connection", {}, {}, ECONNRESET},
          Error{"the observer's line is too long", {}, {}, EPROTO}};
}

}  // namespace

Result<ObserverLink> ObserverLink::connect(const std::string& path, Time deadline) {
  auto connection = control::LineConnection::connect(path, deadline, kLineMax, faults());
  if (!connection) return connection.error();
  return ObserverLink(std::move(*connection));
}

Result<void> ObserverLink::ask(const control::Json& question, Time deadline) {
  return connection_.send(control::to_line(question) + "\n", deadline);
}

Result<control::Json> ObserverLink::next(Time deadline) {
  const auto line = connection_.read(deadline);
  if (!line) return line.error();
  control::Json json = control::from_line(*line);
  if (!json.is_object()) return Error{"the observer says something else than JSON", {}, {}, EPROTO};
  return json;
}

}  // namespace runmain::cli
