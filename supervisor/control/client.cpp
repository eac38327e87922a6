#include "control/client.hpp"

#include <cerrno>

namespace runmain::control {
namespace {

LineFaults faults() {
  return {Error{"no answer in time", {}, {}, ETIMEDOUT},
          Error{"runmain ended the connection", {}, {}, ECONNRESET},
          Error{"the answer is too long", {}, {}, EMSGSIZE}};
}

Client::Answer answer_of(const Json& json) {
  Client::Answer answer;
  if (json.contains("ok")) {
    answer.ok = true;
    answer.value = json["ok"];
    return answer;
  }
  const Json error = json.value("error", Json::object());
  answer.code = text_of(error, "code", kFailed);
  answer.error.message = text_of(error, "message", "failed");
  answer.error.at = text_of(error, "at");
  answer.error.hint = text_of(error, "hint");
  if (const auto output = error.find("output"); output != error.end() && output->is_array())
    answer.output = *output;
  return answer;
}

}  // namespace

Result<Client> Client::connect(const std::string& path, Time deadline) {
  auto connection = LineConnection::connect(path, deadline, kAnswerMax, faults());
  if (!connection) return connection.error();
  return Client(std::move(*connection));
}

Result<Client::Answer> Client::call(const std::string& verb, const Json& args, Time deadline,
                                    const std::function<bool(const Json&)>& on_item) {
  const std::uint64_t id = ++last_id_;
  const Json request{{"v", kProtocolVersion}, {"id", id}, {"verb", verb}, {"args", args}};
  // A server that ends the connection may have said why before: that is read even if sending failed.
  const auto sent = connection_.send(to_line(request) + "\n", deadline);
  if (!sent && sent.error().code != ECONNRESET) return sent.error();
  for (;;) {
    const auto line = connection_.read(deadline);
    if (!line.ok()) return line.error();
    const Json json = from_line(*line);
    if (!json.is_object()) return Error{"the answer is not JSON", {}, {}, EPROTO};
    const bool ours = number_of(json, "id", -1) == static_cast<std::int64_t>(id);
    if (!ours && !json.contains("error")) continue;
    const auto item = json.find("item");
    if (item == json.end()) return answer_of(json);
    if (on_item && !on_item(*item)) return Answer{true, nullptr, {}, {}, {}};
  }
}

}  // namespace runmain::control
