// Where telemetry goes: what each key becomes, and how a service's table lies over the file's.
#include "config/telemetry_reader.hpp"

#include "config/config.hpp"
#include "golden.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;
using namespace std::chrono_literals;

namespace {

core::TelemetrySpec of_file(const std::string& text) {
  LoadOptions options;
  options.check_host = false;
  const Outcome outcome = parse(text, "/srv/app/supervisor.toml", options);
  if (const auto* faults = std::get_if<Faults>(&outcome)) FAIL(explain(*faults));
  return std::get<Loaded>(outcome).desired.services.at(0).telemetry;
}

core::TelemetrySpec of(const std::string& keys) {
  return of_file("[service.web]\ncommand = './server'\ntelemetry = { " + keys + " }\n");
}

}  // namespace

TEST_CASE("without a table telemetry is on and goes where the environment says") {
  CHECK(of_file("[service.web]\ncommand = './server'\n") == core::TelemetrySpec{});
  CHECK(of("") == core::TelemetrySpec{});
}

TEST_CASE("telemetry is read key by key") {
  core::TelemetrySpec expected;
  expected.enabled = false;
  expected.direct = true;
  expected.logs = true;
  expected.automatic = true;
  expected.endpoint = "https://collector:4318/base";
  expected.protocol = "http/json";
  expected.compression = "gzip";
  expected.headers = {{"Authorization", "Bearer x"}, {"x-scope", ""}};
  expected.timeout = 3s;
  expected.certificate = "/srv/app/ca.pem";
  expected.client_certificate = "/etc/own.pem";
  expected.client_key = "/srv/own.key";
  CHECK(of("enabled = false, direct = true, logs = true, auto = true, endpoint = "
           "'https://collector:4318/base', protocol "
           "= 'http/json', "
           "compression = 'gzip', headers = { Authorization = 'Bearer x', x-scope = '' }, timeout = '3s', "
           "certificate = 'ca.pem', client_certificate = '/etc/own.pem', client_key = '../own.key'") ==
        expected);
  CHECK(of("compression = 'none', protocol = 'http/protobuf'").compression == "none");
}

TEST_CASE("a service's table lies over the file's key by key and its headers replace all") {
  const std::string top =
      "[telemetry]\nendpoint = 'http://all:4318'\ncompression = 'gzip'\nheaders = { a = '1', b = '2' }\n";
  const core::TelemetrySpec same = of_file(top + "[service.web]\ncommand = 'x'\n");
  CHECK(same.endpoint == "http://all:4318");
  CHECK(same.headers.size() == 2);
  const core::TelemetrySpec own = of_file(top +
                                          "[service.web]\ncommand = 'x'\n[service.web.telemetry]\nendpoint = "
                                          "'http://own'\nheaders = { c = '3' }");
  CHECK(own.endpoint == "http://own");
  CHECK(own.compression == "gzip");
  CHECK(own.headers == std::vector<std::pair<std::string, std::string>>{{"c", "3"}});
  CHECK_FALSE(of_file(top + "[service.web]\ncommand = 'x'\ntelemetry.enabled = false\n").enabled);
  CHECK(of_file("[telemetry]\nenabled = false\n[service.web]\ncommand = 'x'\ntelemetry.enabled = true\n")
            .enabled);
  CHECK(of_file("[telemetry]\nauto = true\n[service.web]\ncommand = 'x'\n").automatic);
  CHECK_FALSE(
      of_file("[telemetry]\nauto = true\n[service.web]\ncommand = 'x'\ntelemetry.auto = false\n").automatic);
}

TEST_CASE("an endpoint is an http or https URL whose port is that of HTTP") {
  struct Row {
    const char* text;
    int port;  // -1: a fault
  };
  const Row rows[] = {{"http://a", 0},
                      {"HTTPS://a.b-c.d/", 0},
                      {"http://a:4318", 4318},
                      {"http://127.0.0.1:1/x/y?z=1", 1},
                      {"http://[::1]:65535", 65535},
                      {"http://[::1]", 0},
                      {"http://a:4317", 4317},
                      {"", -1},
                      {"a:4318", -1},
                      {"//a", -1},
                      {"http:/a", -1},
                      {"http://", -1},
                      {"http:///v1", -1},
                      {"http://:4318", -1},
                      {"http://a:", -1},
                      {"http://a:0", -1},
                      {"http://a:65536", -1},
                      {"http://a:99999999999999999999", -1},
                      {"http://a:4318x", -1},
                      {"http://[]:1", -1},
                      {"http://[::1]x", -1},
                      {"http://a b", -1},
                      {"http://a\n", -1},
                      {"http://me:pa5s@a", -1},
                      {"http://a/v1/logs", -1},
                      {"grpc://a", -1},
                      {"unix:/x", -1}};
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const auto port = parse_endpoint(row.text);
    CHECK((port ? *port : -1) == row.port);
    if (!port) CHECK_FALSE(port.error().hint.empty());
    if (!port) CHECK(port.error().message.find("pa5s") == std::string::npos);
  }
}

TEST_CASE("the port of gRPC is taken for HTTP only if the file says so") {
  CHECK(of("endpoint = 'http://a:4317', protocol = 'http/protobuf'").endpoint == "http://a:4317");
  CHECK(of_file("[telemetry]\nprotocol = 'http/json'\n[service.web]\ncommand = 'x'\n"
                "telemetry.endpoint = 'http://a:4317'\n")
            .endpoint == "http://a:4317");
}

TEST_CASE("headers have a bound") {
  std::string headers;
  for (std::size_t i = 0; i <= kHeadersMax; ++i) headers += "h" + std::to_string(i) + " = 'x', ";
  const Outcome outcome =
      golden::parse("[service.web]\ncommand = 'x'\ntelemetry = { headers = { " + headers + " z = '' } }\n");
  REQUIRE(std::holds_alternative<Faults>(outcome));
  CHECK(std::get<Faults>(outcome).faults.at(0).message == "telemetry.headers has more than 64");
}

TEST_CASE("a certificate that is not there is told where files are looked at") {
  const Outcome outcome = parse("[telemetry]\ncertificate = 'no-such.pem'\n[service.web]\ncommand = 'x'\n",
                                "/tmp/supervisor.toml");
  REQUIRE(std::holds_alternative<Faults>(outcome));
  CHECK(std::get<Faults>(outcome).faults.at(0).text().find("no-such.pem") != std::string::npos);
}

TEST_CASE("auto beside direct is told where a table says it, and what counts is both tables together") {
  const auto warnings = [](const std::string& text) {
    const Outcome outcome = golden::parse(text);
    REQUIRE(std::holds_alternative<Loaded>(outcome));
    std::string places;
    for (const Error& warning : std::get<Loaded>(outcome).warnings) {
      CHECK(warning.message.find("telemetry.auto does nothing for service \"") == 0);
      CHECK(warning.hint.find("auto = false") != std::string::npos);
      const std::string at = warning.at.substr(warning.at.find(':') + 1);
      places += (places.empty() ? "" : " ") + at;
    }
    return places;
  };
  const std::string web = "[service.web]\ncommand = 'x'\n";
  const std::string batch = "[service.batch]\ncommand = 'y'\n";
  CHECK(warnings(web + "telemetry = { auto = true, direct = true }\n") == "3:37");
  CHECK(warnings("[telemetry]\nauto = true\n" + web + "telemetry.direct = true\n" + batch) == "5:20");
  CHECK(warnings("[telemetry]\ndirect = true\n" + web + batch + "telemetry.auto = true\n") == "7:18");
  CHECK(warnings("[telemetry]\nauto = true\ndirect = true\n" + web + batch) == "3:10");  // once for all
  CHECK(warnings("[telemetry]\nauto = true\ndirect = true\n" + web + "telemetry.auto = false\n").empty());
  CHECK(warnings("[telemetry]\nauto = true\ndirect = true\n" + web + "telemetry.enabled = false\n").empty());
  CHECK(warnings(web + "telemetry = { auto = true }\n" + batch + "telemetry = { direct = true }\n").empty());
}
