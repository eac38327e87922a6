// What telemetry does to the environment of a child: tables of lines before and after.
#include "drive/launch_telemetry.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/identity.hpp"
#include "drive/launch.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

namespace {

using Lines = std::vector<std::string>;

const std::string kOurs = "service.instance.id=ID,runmain.worker=1,runmain.generation=7";

ExportTo destination(bool short_delays = false) {
  return {"127.0.0.1:41234", "0.1.7.1.MAC", "web", "ID", 1, 7, short_delays};
}

std::map<std::string, std::string> exported(Lines lines, bool short_delays = false) {
  export_to_observer(lines, destination(short_delays));
  std::map<std::string, std::string> out;
  for (const std::string& line : lines) {
    INFO(line);
    CHECK(out.emplace(line.substr(0, line.find('=')), line.substr(line.find('=') + 1)).second);
  }
  return out;
}

Lines plain(Lines lines) {
  take_telemetry_out(lines);
  return lines;
}

}  // namespace

TEST_CASE("a child that serves exports to the observer and says who it is") {
  CHECK(exported({"PATH=/bin"}) ==
        std::map<std::string, std::string>{{"PATH", "/bin"},
                                           {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:41234"},
                                           {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"},
                                           {"OTEL_EXPORTER_OTLP_HEADERS", "runmain-token=0.1.7.1.MAC"},
                                           {"OTEL_SERVICE_NAME", "web"},
                                           {"OTEL_RESOURCE_ATTRIBUTES", kOurs},
                                           {"RUNMAIN_AUTO", "0"}});
}

TEST_CASE("what the user has set for the exporter is the observer's and not the child's") {
  const auto env = exported(
      {"OTEL_EXPORTER_OTLP_ENDPOINT=https://far:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t",
       "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta",
       "OTEL_EXPORTER_OTLP_LOGS_HEADERS=a=b", "OTEL_EXPORTER_OTLP_CERTIFICATE=/ca.pem",
       "OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_HEADERS=api-key=secret",
       "OTEL_TRACES_EXPORTER=otlp", "OTEL_TRACES_SAMPLER=always_on",
       "OTEL_EXPORTER_ZIPKIN_ENDPOINT=http://z"});
  for (const auto& [name, value] : env) {
    INFO(name);
    CHECK(value.find("far") == std::string::npos);
    CHECK(value.find("secret") == std::string::npos);
  }
  CHECK(env.at("OTEL_EXPORTER_OTLP_ENDPOINT") == "http://127.0.0.1:41234");
  CHECK(env.count("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == 0);
  CHECK(env.count("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL") == 0);
  CHECK(env.at("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE") == "delta");
  CHECK(env.count("OTEL_EXPORTER_OTLP_CERTIFICATE") == 0);
  CHECK(env.count("OTEL_EXPORTER_OTLP_COMPRESSION") == 0);
  CHECK(env.at("OTEL_TRACES_EXPORTER") == "otlp");
  CHECK(env.at("OTEL_TRACES_SAMPLER") == "always_on");
  CHECK(env.at("OTEL_EXPORTER_ZIPKIN_ENDPOINT") == "http://z");
}

TEST_CASE("the name of the service is the user's where the user has given one") {
  struct Row {
    Lines lines;
    const char* name;  // of OTEL_SERVICE_NAME; empty: not there
  };
  const Row rows[] = {{{}, "web"},
                      {{"OTEL_SERVICE_NAME="}, "web"},
                      {{"OTEL_SERVICE_NAME=mine"}, "mine"},
                      {{"OTEL_RESOURCE_ATTRIBUTES=a=b, service.name = mine"}, ""},
                      {{"OTEL_RESOURCE_ATTRIBUTES=service.name"}, "web"},
                      {{"OTEL_RESOURCE_ATTRIBUTES=my.service.name=x"}, "web"},
                      {{"OTEL_RESOURCE_ATTRIBUTES=service.name=a", "OTEL_SERVICE_NAME=b"}, "b"}};
  for (const Row& row : rows) {
    const auto env = exported(row.lines);
    const auto found = env.find("OTEL_SERVICE_NAME");
    CHECK((found == env.end() ? "" : found->second) == row.name);
  }
}

TEST_CASE("attributes are added to the user's whatever those are") {
  struct Row {
    std::string text;
    std::string merged;
  };
  const Row rows[] = {
      {"", kOurs},
      {",", kOurs},
      {"a=b", "a=b," + kOurs},
      {"a=b,", "a=b," + kOurs},
      {"a=%2C%3D%25,b=c%20d", "a=%2C%3D%25,b=c%20d," + kOurs},
      {"service.instance.id=old,a=b", "a=b," + kOurs},
      {"a=b, service.instance.id = old ,c=d", "a=b,c=d," + kOurs},
      {"runmain.worker=9,runmain.generation=9,service.instance.id=x,service.instance.id=y", kOurs},
      {"a=%zz%", "a=%zz%," + kOurs},
      {"service.instance.id", "service.instance.id," + kOurs},
      {"=x,\xff\xfe=\x01", "=x,\xff\xfe=\x01," + kOurs},
      {std::string(65536, 'x'), std::string(65536, 'x') + "," + kOurs},
      {"a=" + std::string(131000, 'x'),
       "a=" + std::string(131000, 'x')},  // with ours no kernel would take it
      {std::string(70000, ','), kOurs},
  };
  const Lines ours{"service.instance.id=ID", "runmain.worker=1", "runmain.generation=7"};
  for (const Row& row : rows) {
    INFO(row.text.substr(0, 80));
    CHECK(merged_attributes(row.text, ours) == row.merged);
    CHECK(merged_attributes(merged_attributes(row.text, ours), ours) == row.merged);
  }
}

TEST_CASE("a person who looks does not wait for the exporter unless asked to") {
  const auto quick = exported({"OTEL_BSP_SCHEDULE_DELAY=1000", "OTEL_METRIC_EXPORT_INTERVAL="}, true);
  CHECK(quick.at("OTEL_BSP_SCHEDULE_DELAY") == "1000");
  CHECK(quick.at("OTEL_BLRP_SCHEDULE_DELAY") == "200");
  CHECK(quick.at("OTEL_METRIC_EXPORT_INTERVAL") == "5000");
  CHECK(exported({}).count("OTEL_BSP_SCHEDULE_DELAY") == 0);
}

TEST_CASE("a helper exports nothing and the rest of its environment stays") {
  CHECK(plain({"PATH=/bin", "OTEL_EXPORTER_OTLP_ENDPOINT=http://far", "OTEL_EXPORTER_JAEGER_ENDPOINT=x",
               "OTEL_SERVICE_NAME=web", "OTEL_RESOURCE_ATTRIBUTES=a=b", "PYTHONPATH=/src"}) ==
        Lines{"PATH=/bin", "OTEL_SERVICE_NAME=web", "OTEL_RESOURCE_ATTRIBUTES=a=b", "PYTHONPATH=/src"});
  CHECK(plain({"PYTHONPATH=/v/opentelemetry/instrumentation/auto_instrumentation",
               "NODE_OPTIONS=--require @opentelemetry/auto-instrumentations-node/register", "A=1",
               "JAVA_TOOL_OPTIONS=-javaagent:/x/opentelemetry-javaagent.jar",
               "RUBYOPT=-W0 -ropentelemetry-auto"}) == Lines{"A=1", "RUBYOPT=-W0"});
}

TEST_CASE("instrumentation is taken out of what loads it and nothing else") {
  struct Row {
    std::string (*of)(std::string_view);
    std::string value;
    std::string left;
  };
  const std::string auto_py = "/v/site-packages/opentelemetry/instrumentation/auto_instrumentation";
  const Row rows[] = {
      {plain_python_path, "", ""},
      {plain_python_path, "/a:/b", "/a:/b"},
      {plain_python_path, auto_py + ":/a::/b", "/a::/b"},
      {plain_python_path, "/a:" + auto_py, "/a"},
      {plain_python_path, "/a/opentelemetry:/b", "/a/opentelemetry:/b"},
      {plain_node_options, "--max-old-space-size=1 --require ./mine.js",
       "--max-old-space-size=1 --require ./mine.js"},
      {plain_node_options, "--require @opentelemetry/auto-instrumentations-node/register --inspect",
       "--inspect"},
      {plain_node_options, "--inspect  --import=@opentelemetry/x/register", "--inspect"},
      {plain_node_options, "-r \"/a b/node_modules/@opentelemetry/x.js\" -r './y z.js'", "-r './y z.js'"},
      {plain_node_options, "--experimental-loader=@opentelemetry/instrumentation/hook.mjs  -r a", "-r a"},
      {plain_node_options, "--require", "--require"},
      {plain_node_options, "--require \"/a b/share/runmain/node/register.js\" -r x", "-r x"},
      {plain_python_path, "/p/share/runmain/python/bootstrap:/a", "/a"},
      {own_python_path, "/p/share/runmain/python/bootstrap:/a:" + auto_py, "/a:" + auto_py},
      {own_python_path, "/p/share/runmain/python/bootstrap/", ""},
      {own_python_path, "/p/share/runmain/python:/p/bootstrap", "/p/share/runmain/python:/p/bootstrap"},
      {own_node_options, "--require @opentelemetry/x --require /p/share/runmain/node/register.js",
       "--require @opentelemetry/x"},
      {own_node_options, "--require=/p/share/runmain/node/register.js", ""},
      {own_node_options, "--require /p/node/register.js", "--require /p/node/register.js"},
      {plain_node_options, "--title=@opentelemetry/x", "--title=@opentelemetry/x"},
      {plain_node_options, "--require \"@opentelemetry/x", ""},
      {plain_node_options, "--require \"mine", "--require \"mine"},
      {plain_java_options, "-Xmx1g -javaagent:/o/opentelemetry-javaagent.jar=x=y -Da='b c'",
       "-Xmx1g -Da='b c'"},
      {plain_java_options, "-javaagent:/other.jar", "-javaagent:/other.jar"},
      {plain_java_options, "'-javaagent:/with blank/opentelemetry.jar' -Xint", "-Xint"},
      {plain_java_options, "-Dotel.x=opentelemetry", "-Dotel.x=opentelemetry"},
      {plain_ruby_options, "-W0 -r opentelemetry/auto -rbundler", "-W0 -rbundler"},
      {plain_ruby_options, "-ropentelemetry-auto-instrumentation", ""},
      {plain_ruby_options, "-rbundler/setup", "-rbundler/setup"},
      {plain_ruby_options, "   ", "   "},
  };
  for (const Row& row : rows) {
    INFO(row.value);
    CHECK(row.of(row.value) == row.left);
  }
  for (const auto of : {plain_python_path, plain_node_options, plain_java_options, plain_ruby_options}) {
    CHECK(of(std::string(65536, '"')).size() == 65536);
    CHECK(of(std::string(65536, ':')).size() == 65536);
  }
}

TEST_CASE("where a proxy is set the receiver is reached past it") {
  struct Row {
    Lines lines;
    const char* upper;  // of NO_PROXY; empty: not there
    const char* lower;
  };
  const Row rows[] = {
      {{}, "", ""},
      {{"NO_PROXY=x"}, "x", ""},  // without a proxy
      {{"HTTP_PROXY=http://p:3128"}, "127.0.0.1", "127.0.0.1"},
      {{"all_proxy=socks5://p", "no_proxy=.internal"}, "127.0.0.1", ".internal,127.0.0.1"},
      {{"http_proxy=p", "NO_PROXY=a, 127.0.0.1 ", "no_proxy=*"}, "a, 127.0.0.1 ", "*"},
      {{"https_proxy=p", "no_proxy=b"}, "", "b"},  // the receiver is http
  };
  for (const Row& row : rows) {
    const auto env = exported(row.lines);
    for (const auto& [name, value] : {std::pair{"NO_PROXY", row.upper}, std::pair{"no_proxy", row.lower}}) {
      const auto found = env.find(name);
      CHECK((found == env.end() ? "" : found->second) == value);
    }
  }
}

TEST_CASE("a program that exports by itself finds what the file says") {
  core::TelemetrySpec spec;
  Lines lines{"OTEL_EXPORTER_OTLP_ENDPOINT=http://far:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t/x",
              "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_HEADERS=old=1",
              "OTEL_TRACES_SAMPLER=always_on"};
  const Lines before = lines;
  export_directly(lines, spec);
  CHECK(lines == before);  // the file says nothing
  spec.endpoint = "https://file:4318";
  spec.headers = {{"api-key", "a b,c"}};
  spec.compression = "gzip";
  spec.timeout = std::chrono::milliseconds(1500);
  spec.certificate = "/ca.pem";
  spec.client_certificate = "/own.pem";
  spec.client_key = "/own.key";
  export_directly(lines, spec);
  CHECK(lines ==
        Lines{"OTEL_EXPORTER_OTLP_ENDPOINT=https://file:4318", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
              "OTEL_EXPORTER_OTLP_HEADERS=api-key=a%20b%2Cc", "OTEL_TRACES_SAMPLER=always_on",
              "OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_TIMEOUT=1500",
              "OTEL_EXPORTER_OTLP_CERTIFICATE=/ca.pem", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/own.pem",
              "OTEL_EXPORTER_OTLP_CLIENT_KEY=/own.key"});
  spec.protocol = "http/json";
  export_directly(lines, spec);
  CHECK(std::count(lines.begin(), lines.end(), "OTEL_EXPORTER_OTLP_PROTOCOL=http/json") == 1);
}

TEST_CASE("telemetry of a plan: workers export and helpers do not and who is off or direct is left alone") {
  core::ServiceSpec spec;
  spec.name = "web";
  spec.command.argv = {"./server"};
  core::WatchSpec watch;  // apart: GCC 12 else takes its lists for uninitialized when a sanitizer watches
  watch.build = core::CommandSpec{{"make"}, false};
  spec.watch = watch;
  spec.cwd = "/srv";
  spec.env = {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://far:4318"}};
  LaunchInput in;
  in.spec = &spec;
  in.key = {ServiceId{3}, 1, 4, 2};
  in.secret = "0123456789abcdef";
  in.otlp = "127.0.0.1:41234";
  const auto has = [&](const std::string& line) {
    const Launch launch = plan(in);
    const auto& env = std::get<keeper::SpawnChild>(launch).env;
    return std::count(env.begin(), env.end(), line) == 1;
  };
  const std::string own = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:41234";
  const std::string users = "OTEL_EXPORTER_OTLP_ENDPOINT=http://far:4318";
  CHECK(has(own));
  CHECK(has("OTEL_EXPORTER_OTLP_HEADERS=runmain-token=" + otlp_token(in.secret, in.key)));
  CHECK(has("OTEL_RESOURCE_ATTRIBUTES=service.instance.id=" + instance_id(in.secret, in.key) +
            ",runmain.worker=1,runmain.generation=4"));
  in.key.slot = kBuildSlot;
  CHECK_FALSE(has(own));
  CHECK_FALSE(has(users));
  for (const bool direct : {true, false}) {
    spec.telemetry.direct = direct;
    spec.telemetry.enabled = direct;
    for (const std::uint32_t slot : {1U, kBuildSlot}) {
      in.key.slot = slot;
      CHECK(has(users));
      CHECK_FALSE(has("OTEL_SERVICE_NAME=web"));
    }
  }
  spec.telemetry.enabled = spec.telemetry.direct = true;
  spec.telemetry.endpoint = "http://file:4318";
  in.otlp.clear();  // no observer is needed for it
  in.key.slot = 1;
  CHECK(has("OTEL_EXPORTER_OTLP_ENDPOINT=http://file:4318"));
  in.key.slot = kBuildSlot;
  CHECK(has(users));
  spec.telemetry = {};
  in.key.slot = 1;
  CHECK(has(users));
}

TEST_CASE("a plan puts the bootstrap into a worker and takes the one of an outer runmain out") {
  core::ServiceSpec spec;
  spec.name = "web";
  spec.command.argv = {"./server"};
  spec.cwd = "/srv";
  core::WatchSpec watch;
  watch.build = core::CommandSpec{{"make"}, false};
  spec.watch = watch;
  LaunchInput in;
  in.spec = &spec;
  in.key = {ServiceId{3}, 1, 4, 2};
  in.otlp = "127.0.0.1:41234";
  in.bootstrap = {"/p/share/runmain/python/bootstrap", "/p/share/runmain/node/register.js", true};
  in.environment = {"PYTHONPATH=/outer/share/runmain/python/bootstrap:/src",
                    "NODE_OPTIONS=--require /outer/share/runmain/node/register.js", "RUNMAIN_AUTO=1"};
  const auto value = [&](const std::string& name) -> std::string {
    const Launch launch = plan(in);
    for (const std::string& line : std::get<keeper::SpawnChild>(launch).env) {
      if (line.starts_with(name + "=")) return line.substr(name.size() + 1);
    }
    return "unset";
  };
  const auto all = [&] {
    return value("PYTHONPATH") + "|" + value("NODE_OPTIONS") + "|" + value("RUNMAIN_AUTO");
  };
  const std::string on =
      "/p/share/runmain/python/bootstrap:/src|--require /p/share/runmain/node/register.js|";
  CHECK(all() == on + "0");
  spec.telemetry.automatic = true;
  CHECK(all() == on + "1");
  in.key.slot = kBuildSlot;
  CHECK(all() == "/src|unset|unset");
  in.key.slot = 1;
  spec.telemetry.direct = true;
  CHECK(all() == "/src|unset|unset");
  spec.telemetry.direct = false;
  in.otlp.clear();
  CHECK(all() == "/src|unset|unset");
  in.otlp = "127.0.0.1:41234";
  spec.env = {{"PYTHONPATH", ""}, {"NODE_OPTIONS", "--inspect"}};
  CHECK(value("PYTHONPATH") == in.bootstrap.python);
  CHECK(value("NODE_OPTIONS") == "--inspect --require /p/share/runmain/node/register.js");
  spec.command.argv = {"node", "--permission", "--allow-fs-read=/app/*", "server.js"};  // may not read ours
  CHECK(value("NODE_OPTIONS") == "--inspect");
  CHECK(value("PYTHONPATH") == in.bootstrap.python);
  spec.env = {{"PYTHONPATH", "/" + std::string(131050, 'x')}};
  CHECK(value("PYTHONPATH") == spec.env[0].second);  // with ours no kernel would take it
  spec.env = {};
  in.bootstrap = {};
  CHECK(all() == "/src|unset|1");
}

TEST_CASE("a service that the doctor looks at gets probes in front, its helpers and others get none") {
  core::ServiceSpec spec;
  spec.name = "web";
  spec.command.argv = {"./server"};
  LaunchInput in;
  in.spec = &spec;
  in.key = {ServiceId{3}, 1, 4, 2};
  in.bootstrap.python_probe = "/p/share/runmain/python/probe";
  in.bootstrap.node_probe = "/p/share/runmain/node/probe.js";
  in.environment = {"PYTHONPATH=/src", "NODE_OPTIONS=--inspect"};
  const auto has = [&](const std::string& line) {
    const Launch launch = plan(in);
    const auto& env = std::get<keeper::SpawnChild>(launch).env;
    return std::find(env.begin(), env.end(), line) != env.end();
  };
  CHECK(has("PYTHONPATH=/src"));
  in.doctor = "/run/doctor";
  CHECK(has("RUNMAIN_DOCTOR=/run/doctor"));
  CHECK(has("PYTHONPATH=/p/share/runmain/python/probe:/src"));
  CHECK(has("NODE_OPTIONS=--require /p/share/runmain/node/probe.js --inspect"));
  in.bootstrap = {};
  CHECK(has("PYTHONPATH=/src"));
}
