// What the head says of the observer to the keeper, who is played here.
#include "app/telemetry.hpp"

#include "base/archive.hpp"
#include "keeper/observer_messages.hpp"
#include "support/catch.hpp"
#include "telemetry/observer_config.hpp"

using namespace runmain;
using namespace runmain::app;

namespace {

struct World {
  std::vector<keeper::OpenListener> opened;
  std::vector<telemetry::ObserverConfig> told;
  std::vector<std::string> argv;
  std::vector<std::string> listeners;
  std::vector<std::string> said;
  bool refuses = false;
  drive::Bootstrap bootstrap{"/s/python/bootstrap", "/s/node/register.js", true};
  drive::ServiceTable services;

  World() { add(0, "web"); }
  core::ServiceSpec& add(std::uint32_t id, const std::string& name) {
    core::ServiceSpec& spec = services.at(ServiceId{id}).spec;
    spec.name = name;
    return spec;
  }
  core::ServiceSpec& web() { return services.at(ServiceId{0}).spec; }

  Telemetry::Context context() {
    Telemetry::Context c;
    c.open = [this](const keeper::OpenListener& wanted) -> Result<drive::KeeperClient::Listener> {
      if (refuses) return Error{"no more fds", {}, {}, EMFILE};
      opened.push_back(wanted);
      drive::KeeperClient::Listener listener;
      listener.opened.id = wanted.id;
      listener.opened.bound = "127.0.0.1:41234";
      return listener;
    };
    c.configure = [this](std::vector<std::string> command, std::vector<std::string> ids,
                         std::string_view bytes) -> Result<void> {
      argv = std::move(command);
      listeners = std::move(ids);
      REQUIRE(bytes.size() <= keeper::kObserverConfigurationMax);
      REQUIRE(from_binary(bytes, told.emplace_back()));
      return {};
    };
    c.say = [this](const Line& line) { said.push_back(line.text); };
    c.program = "/bin/runmain-observer";
    c.bootstrap = bootstrap;
    c.secret = "0123456789abcdef";
    c.runtime_dir = "/run/x";
    c.state_dir = "/state/x";
    return c;
  }
};

}  // namespace

TEST_CASE("the observer's sockets are opened once and it is told what has changed") {
  World w;
  Telemetry telemetry(w.context());
  CHECK(telemetry.receiver().empty());
  CHECK(telemetry.socket() == "/run/x/observer");
  telemetry.refresh(w.services, core::Mode::prod);
  CHECK(w.opened.empty());  // nobody would hear: no process for that
  w.web().telemetry.endpoint = "http://first:4318";
  telemetry.refresh(w.services, core::Mode::prod);
  CHECK(telemetry.receiver() == "127.0.0.1:41234");
  REQUIRE(w.opened.size() == 2);
  CHECK(w.opened[0].host == "127.0.0.1");
  CHECK(w.opened[0].port == 0);
  CHECK(w.opened[1].path == "/run/x/observer");
  CHECK(w.argv == std::vector<std::string>{"/bin/runmain-observer"});
  CHECK(w.listeners == std::vector<std::string>{"|otlp", "|observer"});
  REQUIRE(w.told.size() == 1);
  CHECK(w.told[0].secret == "0123456789abcdef");
  CHECK(w.told[0].folder == "/state/x/telemetry");
  CHECK_FALSE(w.told[0].dev);
  CHECK(w.told[0].destinations.size() == 1);
  CHECK(telemetry.takes(ServiceId{0}));
  REQUIRE(w.told[0].services.size() == 2);
  CHECK(w.told[0].services[0].name == "web");
  CHECK(w.told[0].services[1].id == kNoService);  // runmain itself

  telemetry.refresh(w.services, core::Mode::prod);  // nothing new
  CHECK(w.told.size() == 1);
  w.web().telemetry.endpoint = "http://c:4318";
  telemetry.refresh(w.services, core::Mode::prod);
  REQUIRE(w.told.size() == 2);
  CHECK(w.told[1].services[0].destination == 0);
  w.web().telemetry.enabled = false;  // it goes on, for what is on its way
  telemetry.refresh(w.services, core::Mode::prod);
  REQUIRE(w.told.size() == 3);
  CHECK(w.told[2].services[0].destination == telemetry::kNoDestination);
  CHECK(w.opened.size() == 2);
  CHECK(w.said.empty());

  Telemetry next(w.context());  // of the head after this one
  next.refresh(w.services, core::Mode::prod);
  CHECK(w.told.size() == 3);  // all is off: nobody starts an observer for that
  w.web().telemetry.enabled = true;
  next.refresh(w.services, core::Mode::prod);
  CHECK(w.told.size() == 4);
}

TEST_CASE("where there can be no observer nothing is opened and it is said once") {
  World w;
  Telemetry::Context none = w.context();
  none.configure = nullptr;
  Telemetry without(std::move(none));
  without.refresh(w.services, core::Mode::dev);
  CHECK(w.opened.empty());
  CHECK(w.said.empty());

  Telemetry::Context missing = w.context();
  missing.program.clear();
  Telemetry lost(std::move(missing));
  lost.refresh(w.services, core::Mode::dev);
  lost.refresh(w.services, core::Mode::dev);
  CHECK(w.said == std::vector<std::string>{"runmain-observer is missing: there is no telemetry, ignoring"});
  CHECK(lost.receiver().empty());

  w.refuses = true;
  Telemetry refused(w.context());
  refused.refresh(w.services, core::Mode::dev);
  CHECK(w.said.back() == "there is no telemetry, ignoring: no more fds");
  CHECK(refused.receiver().empty());
  w.refuses = false;
  refused.refresh(w.services, core::Mode::dev);
  CHECK(refused.receiver() == "127.0.0.1:41234");
}

TEST_CASE("variables that are too long for the observer cost the export and nothing else") {
  World w;
  for (std::uint32_t id = 0; id < 20; ++id)
    w.add(id, "s" + std::to_string(id)).env = {
        {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/" + std::to_string(id)},
        {"OTEL_EXPORTER_OTLP_HEADERS", "k=" + std::string(65536, 'x')}};
  Telemetry telemetry(w.context());
  telemetry.refresh(w.services, core::Mode::dev);
  REQUIRE(w.told.size() == 1);
  CHECK(w.told[0].services.size() == 21);  // and runmain itself
  CHECK(w.told[0].destinations.empty());
  CHECK(w.said.size() == 1);
  CHECK(telemetry.receiver() == "127.0.0.1:41234");
}

TEST_CASE("instrumentation that is asked for and cannot be is said once") {
  World w;
  w.web().telemetry.automatic = true;
  const auto told = [&](core::Mode mode) {
    w.said.clear();
    Telemetry telemetry(w.context());
    telemetry.refresh(w.services, mode);
    telemetry.refresh(w.services, mode);
    return w.said;
  };
  using Said = std::vector<std::string>;
  CHECK(told(core::Mode::dev).empty());
  CHECK(told(core::Mode::prod) ==
        Said{"web: telemetry.auto does nothing without an endpoint to export to, ignoring"});
  w.web().user = "www";
  CHECK(told(core::Mode::dev).empty());
  w.bootstrap.others_can_read = false;
  CHECK(told(core::Mode::dev) ==
        Said{"web: telemetry.auto does nothing, as other users may not read share/runmain, ignoring"});
  w.bootstrap = {};
  CHECK(told(core::Mode::dev) ==
        Said{"share/runmain is missing beside the executables: telemetry.auto does nothing, ignoring"});
  w.web().telemetry.direct = true;
  CHECK(told(core::Mode::dev).empty());
}
