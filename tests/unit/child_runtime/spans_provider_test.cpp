// The provider: where it is on, once only, its samplers, its ids and its resource.
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "child_runtime/child_runtime.hpp"
#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

namespace {

std::string description() {
  std::string text(runmain_sampler_description(nullptr, 0), '\0');
  runmain_sampler_description(text.data(), text.size() + 1);
  return text;
}

std::string telemetry_reason() {
  std::string text(runmain_telemetry_reason(nullptr, 0), '\0');
  runmain_telemetry_reason(text.data(), text.size() + 1);
  return text;
}

// What a child of a parent with these flags is recorded as: "recorded" or "dropped", and its flags.
std::string with_parent(std::uint8_t flags, bool remote) {
  runmain::SpanContext parent{};
  parent.trace_id[0] = parent.span_id[0] = 1;
  parent.flags = flags;
  parent.is_remote = remote ? 1 : 0;
  const auto span = runmain::start_span("child", {.parent = runmain::Context::of(parent)});
  const runmain::SpanContext own = span.span_context();
  const bool same_trace = own.trace_id[0] == 1 && own.trace_id[15] == 0;
  return std::string(span.is_recording() ? "recorded " : "dropped ") + std::to_string(own.flags) +
         (same_trace && own.span_id[0] + own.span_id[7] != 1 ? "" : " wrong ids");
}

// The decisions of a sampler from the environment: of a root, and of sampled and not sampled parents.
std::string decisions(const char* sampler, const char* argument = nullptr) {
  const TestMailbox mailbox;
  Variables variables{{"OTEL_TRACES_SAMPLER", sampler}};
  if (argument != nullptr) variables.emplace_back("OTEL_TRACES_SAMPLER_ARG", argument);
  return in_child(
      mailbox,
      [] {
        std::string text = runmain::start_span("root").is_recording() ? "root" : "no root";
        for (const bool remote : {false, true}) {
          for (const std::uint8_t flags : {std::uint8_t{1}, std::uint8_t{0}})
            text += with_parent(flags, remote)[0] == 'r' ? " on" : " off";
        }
        return text;
      },
      variables);
}

// What a child writes to stderr that makes spans in three threads.
std::string warnings_of(const Variables& variables) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const TestMailbox mailbox;
  Child child([&] {
    for (const auto& [name, value] : variables) setenv(name, value, 1);
    dup2(ends[1], STDERR_FILENO);
    attach(mailbox);
    for (int i = 0; i < 3; ++i) std::thread([] { const auto span = runmain::start_span("work"); }).join();
    return std::string();
  });
  close(ends[1]);
  child.finish();
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  return text;
}

otlp::Attributes resource_of(const Variables& variables, const std::function<std::string()>& before = {}) {
  const TestMailbox mailbox;
  Child child([&] {
    for (const auto& [name, value] : variables) setenv(name, value, 1);
    if (before) before();
    attach(mailbox);
    { const auto span = runmain::start_span("work"); }
    return std::string();
  });
  child.finish();
  const auto entries = mailbox.dictionary(0);
  return entries.empty() ? otlp::Attributes{} : otlp::read_attributes(entries[0], 1);
}

}  // namespace

TEST_CASE("without a mailbox spans record nothing, and the parent's context still flows") {
  Child child([] {
    std::string text = runmain_telemetry_on() != 0 ? "on" : "off";
    auto span = runmain::start_as_current_span("work");
    span.set_attribute("key", "value");
    text += span.is_recording() ? " recording" : " silent";
    text += runmain::is_valid(span.span_context()) ? " valid" : " none";
    runmain::SpanContext remote{};
    remote.trace_id[3] = remote.span_id[3] = 7;
    remote.flags = 1;
    remote.is_remote = 1;
    const runmain::Activation activation(runmain::Context::of(remote));
    const auto child_span = runmain::start_as_current_span("child");
    const auto seen = runmain::Context::current().span_context();
    return text + (std::memcmp(&seen, &remote, sizeof seen) == 0 ? " carried" : " lost");
  });
  CHECK(child.finish() == "off silent none carried");
}

TEST_CASE("the first span claims, and a refused process records nothing") {
  Channel channel;
  Child child([&] {
    supervise(channel.name());
    const auto span = runmain::start_as_current_span("work");
    std::string text = span.is_recording() ? "recording " : "silent ";
    text += std::to_string(runmain_telemetry_init("a.cpp", 3)) + " ";
    return text + telemetry_reason();
  });
  Peer peer = channel.accept();
  CHECK(peer.line().find("\"claim\"") != std::string::npos);
  CHECK(peer.send("{\"v\":1,\"refused\":{\"why\":\"slot 2 is served by 77\"}}\n"));
  CHECK(child.finish() == "silent " + std::to_string(-EPERM) +
                              " telemetry: this process does not serve: slot 2 is served by 77");
}

TEST_CASE("a second initialisation is an error that names the first one") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          { const auto implicit = runmain::start_span("an implicit one does not count"); }
          const auto first = runmain::initialise_telemetry("main.cpp", 12);
          const auto second = runmain::initialise_telemetry("plugin.cpp", 99);
          const std::string expected =
              "telemetry: already initialised at main.cpp:12 by process " + std::to_string(getpid());
          return std::string(first ? "first " : "no first ") +
                 (second.error == -EALREADY && second.why == expected ? "named" : second.why);
        }) == "first named");
}

TEST_CASE("a mailbox that is none is refused, and a second one too") {
  const TestMailbox mailbox;
  const TestMailbox broken;
  const int short_file = memfd_create("short", MFD_CLOEXEC);
  REQUIRE(ftruncate(short_file, 10) == 0);
  Child child([&] {
    std::string text;
    for (const auto change : {0, 1, 2, 3, 4, 5}) {
      const runmain_mailbox good = broken.header();
      runmain_mailbox& m = broken.header();
      if (change == 0) m.magic = 1;
      if (change == 1) m.major = 2;
      if (change == 2) m.lane_count = 1U << 30U;
      if (change == 3) m.ring_size = 3000;
      if (change == 4) m.lane_stride = 8192;
      if (change == 5) m.lanes_shared = m.lane_count + 1;
      text += runmain_mailbox_attach(broken.memfd(), -1) == -EPROTO ? "." : "x";
      m = good;
    }
    text += runmain_mailbox_attach(short_file, -1) == -EPROTO ? "." : "x";
    text += runmain_mailbox_attach(-1, -1) == -EBADF ? "." : "x";
    text += attach(mailbox) ? " attached " : " not ";
    return text + (runmain_mailbox_attach(broken.memfd(), -1) == -EALREADY ? "once" : "twice");
  });
  CHECK(child.finish() == "........ attached once");
  close(short_file);
}

// Requirements 3 to 5.
TEST_CASE(
    "flush is true at once, shutdown once; what was open then still comes, and nothing begins any more") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    { const auto before = runmain::start_span("before"); }
    auto open = runmain::start_span("open");
    open.set_attribute("flushed", runmain::force_flush());
    open.set_attribute("first", runmain_telemetry_shutdown());
    open.set_attribute("second", runmain_telemetry_shutdown());
    auto after = runmain::start_span("after");
    open.set_attribute("after", after.is_recording());
    open.set_attribute("flushed.after", runmain::force_flush());
    open.set_attribute("init", runmain_telemetry_init("x", 1));
  });
  REQUIRE(spans.size() == 2);
  CHECK(spans[0].name == "before");
  CHECK(spans[1].get("flushed") == "true");
  CHECK(spans[1].get("first") == "0");
  CHECK(spans[1].get("second") == std::to_string(-EALREADY));
  CHECK(spans[1].get("after") == "false");
  CHECK(spans[1].get("flushed.after") == "true");
  CHECK(spans[1].get("init") == std::to_string(-ECANCELED));
}

// Requirement 22.
TEST_CASE("OTEL_SDK_DISABLED switches off and keeps contexts") {
  TestMailbox mailbox;
  for (const char* const value : {"true", "TRUE"}) {
    CHECK(in_child(mailbox,
                   [] { return with_parent(1, true).substr(0, 7) + std::to_string(runmain_telemetry_on()); },
                   {{"OTEL_SDK_DISABLED", value}}) == "dropped0");
  }
  CHECK(spans_of(mailbox, [] { const auto span = runmain::start_span("work"); },
                 {{"OTEL_SDK_DISABLED", "false"}})
            .size() == 1);
}

// Requirements 25 and 30.
TEST_CASE("samplers by name") {
  CHECK(decisions("") == "root on off on off");
  CHECK(decisions("parentbased_always_on") == "root on off on off");
  CHECK(decisions("always_on") == "root on on on on");
  CHECK(decisions("always_off") == "no root off off off off");
  CHECK(decisions("parentbased_always_off") == "no root on off on off");
  CHECK(decisions("traceidratio", "0") == "no root off off off off");
  CHECK(decisions("traceidratio", "1.0") == "root on on on on");
  CHECK(decisions("traceidratio") == "root on on on on");
  CHECK(decisions("parentbased_traceidratio", "0.0") == "no root on off on off");
}

// Requirements 6 and 7.
TEST_CASE("a span that is not sampled has ids and flags of its own, and is counted") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox,
                 [] {
                   const auto root = runmain::start_as_current_span("root");
                   const auto context = root.span_context();
                   const auto inner = runmain::start_span("inner");
                   const bool same = std::memcmp(context.trace_id, inner.span_context().trace_id, 16) == 0;
                   return std::string(runmain::is_valid(context) ? "valid " : "none ") +
                          std::to_string(context.flags) +
                          (same && !inner.is_recording() ? " inherited" : " not");
                 },
                 {{"OTEL_TRACES_SAMPLER", "parentbased_always_off"}}) == "valid 2 inherited");
  CHECK(mailbox.lane(0).not_sampled == 2);
  CHECK(mailbox.started() == 0);
}

// Requirement 31.
TEST_CASE("a ratio is of the trace id, and a higher one has all that a lower one has") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          std::map<double, std::set<int>> sampled;
          for (const double ratio : {0.1, 0.5}) {
            runmain_sampler sampler{};
            sampler.kind = RUNMAIN_SAMPLER_RATIO;
            sampler.ignore_parent = 1;
            sampler.ratio = ratio;
            runmain_set_sampler(&sampler);
            std::uint64_t x = 1;
            for (int i = 0; i < 2000; ++i) {
              runmain::SpanContext parent{};
              x = x * 6364136223846793005ULL + 1442695040888963407ULL;
              std::memcpy(parent.trace_id + 8, &x, 8);
              parent.span_id[0] = 1;
              if (runmain::start_span("s", {.parent = runmain::Context::of(parent)}).is_recording())
                sampled[ratio].insert(i);
            }
          }
          for (const int i : sampled[0.1]) {
            if (sampled[0.5].count(i) == 0) return std::string("not all");
          }
          const bool about = std::abs(static_cast<int>(sampled[0.1].size()) - 200) < 60 &&
                             std::abs(static_cast<int>(sampled[0.5].size()) - 1000) < 120;
          return std::string(about ? "as asked" : "another ratio");
        }) == "as asked");
  // The decision of other SDKs for the same trace.
  CHECK(in_child(mailbox, [] {
          std::string text;
          for (const std::uint8_t byte : {0x7f, 0x81}) {
            runmain_sampler sampler{};
            sampler.kind = RUNMAIN_SAMPLER_RATIO;
            sampler.ignore_parent = 1;
            sampler.ratio = 0.5;
            runmain_set_sampler(&sampler);
            runmain::SpanContext parent{};
            parent.trace_id[8] = byte;
            parent.span_id[0] = 1;
            text +=
                runmain::start_span("s", {.parent = runmain::Context::of(parent)}).is_recording() ? "+" : "-";
          }
          return text;
        }) == "+-");
}

// Requirements 30 and 31.
TEST_CASE("descriptions are the specification's") {
  const auto describe = [](const Variables& variables) {
    const TestMailbox mailbox;
    return in_child(mailbox, description, variables);
  };
  CHECK(describe({{"OTEL_TRACES_SAMPLER", "always_on"}}) == "AlwaysOnSampler");
  CHECK(describe({{"OTEL_TRACES_SAMPLER", "always_off"}}) == "AlwaysOffSampler");
  CHECK(describe({{"OTEL_TRACES_SAMPLER", "traceidratio"}, {"OTEL_TRACES_SAMPLER_ARG", "0.0001"}}) ==
        "TraceIdRatioBased{0.000100}");
  CHECK(describe({{"OTEL_TRACES_SAMPLER", "traceidratio"}, {"OTEL_TRACES_SAMPLER_ARG", "1e-4"}}) ==
        "TraceIdRatioBased{0.000100}");
  CHECK(describe({}).substr(0, 33) == "ParentBased{root:AlwaysOnSampler,");
}

// Requirement 6.
TEST_CASE("a program's own sampler sees the span, and decides for roots") {
  const TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          static int seen = 0;
          static const runmain_sampler own{0,
                                           0,
                                           0,
                                           [](void* data, const runmain_sampling* s) {
                                             seen += data == &seen && s->kind == RUNMAIN_KIND_CLIENT ? 1 : 0;
                                             return s->attribute_count == 1 && s->name.size == 3 ? 1 : 0;
                                           },
                                           &seen,
                                           "Own"};
          runmain_set_sampler(&own);
          const auto yes =
              runmain::start_span("yes", {.kind = runmain::SpanKind::client, .attributes = {{"a", 1}}});
          const auto no = runmain::start_span("no");
          return description().substr(0, 20) +
                 (yes.is_recording() && !no.is_recording() && seen == 1 ? " ok" : " no");
        }) == "ParentBased{root:Own ok");
}

// Requirement 21.
TEST_CASE("what is not understood is told once and ignored") {
  CHECK(warnings_of({{"OTEL_TRACES_SAMPLER", "sometimes"}}) ==
        "runmain: OTEL_TRACES_SAMPLER=sometimes is unknown, ignoring\n");
  CHECK(warnings_of({{"OTEL_TRACES_SAMPLER", "traceidratio"}, {"OTEL_TRACES_SAMPLER_ARG", "1.5"}}) ==
        "runmain: OTEL_TRACES_SAMPLER_ARG=1.5 is none of 0 to 1, ignoring\n");
  CHECK(warnings_of({{"OTEL_SPAN_EVENT_COUNT_LIMIT", "-3"}}) ==
        "runmain: OTEL_SPAN_EVENT_COUNT_LIMIT=-3 is no number, ignoring\n");
  CHECK(warnings_of({{"OTEL_SDK_DISABLED", "yes"}}) ==
        "runmain: OTEL_SDK_DISABLED=yes is no boolean, taking it as false\n");
  CHECK(warnings_of({{"OTEL_TRACES_SAMPLER", ""}, {"OTEL_SPAN_LINK_COUNT_LIMIT", ""}}).empty());
  CHECK(decisions("sometimes") == "root on off on off");
  CHECK(decisions("traceidratio", "nothing") == "root on on on on");
}

// Requirement 12.
TEST_CASE("ids are random, not zero, and say so") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    for (int i = 0; i < 500; ++i) const auto span = runmain::start_span("work");
    std::thread([] {
      for (int i = 0; i < 500; ++i) const auto span = runmain::start_span("work");
    }).join();
  });
  std::set<std::string> traces;
  std::set<std::string> ids;
  for (const otlp::Span& span : spans) {
    traces.insert(span.trace_id);
    ids.insert(span.span_id);
    CHECK((span.flags & RUNMAIN_FLAG_RANDOM) != 0);
  }
  CHECK(traces.size() == 1000);
  CHECK(ids.size() == 1000);
  CHECK(traces.count(std::string(32, '0')) + ids.count(std::string(16, '0')) == 0);
}

// Requirements 16, 17, 23 and 52.
TEST_CASE("the resource says who this is") {
  const otlp::Attributes plain = resource_of({});
  CHECK(plain.get("service.name") == "unknown_service:test_child_runtime");
  CHECK(plain.get("telemetry.sdk.name") == "runmain");
  CHECK(plain.get("telemetry.sdk.language") == "cpp");
  CHECK(plain.get("telemetry.sdk.version") == RUNMAIN_VERSION);
  CHECK(plain.get("process.executable.name") == "test_child_runtime");
  CHECK(std::stoi(plain.get("process.pid")) > 1);
  CHECK(plain.get("service.instance.id").size() == 36);
  CHECK(plain.get("service.instance.id")[14] == '4');
  CHECK(plain.get("service.instance.id") != resource_of({}).get("service.instance.id"));

  const otlp::Attributes told =
      resource_of({{"OTEL_RESOURCE_ATTRIBUTES",
                    "deployment.environment.name=a%2Cb%3Dc, team = x "
                    ",service.name=other,telemetry.sdk.name=opentelemetry,team=y"}});
  CHECK(told.get("deployment.environment.name") == "a,b=c");
  CHECK(told.get("team") == "y");
  CHECK(told.get("service.name") == "other");
  CHECK(told.get("telemetry.sdk.name") == "runmain");
  CHECK(told.unique());
  CHECK(resource_of({{"OTEL_SERVICE_NAME", "named"}, {"OTEL_RESOURCE_ATTRIBUTES", "service.name=other"}})
            .get("service.name") == "named");
  for (const char* const wrong : {"a=%zz,b=c", "b=c,a", "b=c,=a", "b=c,a=%1"}) {
    CHECK(resource_of({{"OTEL_RESOURCE_ATTRIBUTES", wrong}}).get("b") == "none");
    CHECK(warnings_of({{"OTEL_RESOURCE_ATTRIBUTES", wrong}}).find("OTEL_RESOURCE_ATTRIBUTES=") !=
          std::string::npos);
  }
}

// Requirements 16 and 52.
TEST_CASE("the resource has the role's names where there is one") {
  Channel channel;
  const TestMailbox mailbox;
  Child child([&] {
    supervise(channel.name());
    runmain::serve();
    attach(mailbox);
    { const auto span = runmain::start_span("work"); }
    return std::string();
  });
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send(role_line("[]", "i-5")));
  CHECK(child.finish().empty());
  const auto resource = otlp::read_attributes(mailbox.dictionary(0).at(0), 1);
  CHECK(resource.get("service.name") == "web");
  CHECK(resource.get("service.instance.id") == "i-5");
  CHECK(resource.get("runmain.worker") == "2");
  CHECK(resource.get("runmain.generation") == "7");
}

// Requirement 52.
TEST_CASE("a forked process that serves has an instance id of its own") {
  constexpr const char* kWorkers = "11111111-2222-8333-8444-555555555555";
  Channel channel;
  const TestMailbox mailbox;
  Child child([&] {
    supervise(channel.name());
    const auto serve_and_tell = [&] {
      runmain::serve();
      if (!attach(mailbox)) _exit(1);
      const auto span = runmain::start_span("work");
    };
    serve_and_tell();
    const pid_t forked = fork();
    if (forked == 0) {
      serve_and_tell();
      _exit(0);
    }
    int status = 0;
    waitpid(forked, &status, 0);
    return std::to_string(status);
  });
  for (int claims = 0; claims < 2; ++claims) {
    Peer peer = channel.accept();
    peer.line();
    CHECK(peer.send(role_line("[]", kWorkers)));
  }
  CHECK(child.finish() == "0");
  const auto id_in_lane = [&](std::uint32_t lane) {
    return otlp::read_attributes(mailbox.dictionary(lane).at(0), 1).get("service.instance.id");
  };
  CHECK(id_in_lane(0) == kWorkers);
  CHECK(id_in_lane(1) == "11111111-2222-8333-8444-555555555554");
}

TEST_CASE("a resource that is too long loses what the environment adds") {
  const std::string many = "a=" + std::string(9000, 'x') + ",b=y";
  const otlp::Attributes resource = resource_of({{"OTEL_RESOURCE_ATTRIBUTES", many.c_str()}});
  CHECK(resource.get("a") == "none");
  CHECK(resource.get("b") == "y");
  CHECK(resource.get("telemetry.sdk.name") == "runmain");
}

// Requirement 2.
TEST_CASE("a tracer's scope is in the dictionary once, and spans name it") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    const runmain::Tracer http("http", "1.2", "https://example.org/schema", {{"kind", "server"}});
    const runmain::Tracer again("http", "1.2", "https://example.org/schema", {{"kind", "server"}});
    const runmain::Tracer other("http", "1.3");
    { const auto a = http.start_span("a"); }
    { const auto b = again.start_span("b"); }
    { const auto c = other.start_span("c"); }
    { const auto d = runmain::start_span("d"); }
  });
  REQUIRE(spans.size() == 4);
  const auto entries = mailbox.dictionary(0);
  REQUIRE(entries.size() == 4);
  const auto scope = [&](int i) { return mailbox.scopes[spans[static_cast<std::size_t>(i)].span_id]; };
  CHECK(scope(0) == scope(1));
  CHECK(scope(0) != scope(2));
  const std::string& entry = entries.at(scope(0));
  CHECK(entry.substr(8, 26) == "https://example.org/schema");
  CHECK(otlp::read_attributes(entry.substr(34), 3).get("kind") == "server");
  CHECK(entries.at(scope(3)) == std::string(8, '\0'));
}

TEST_CASE("more tracers than there is room for leave spans without a scope") {
  TestMailbox mailbox({4, 1, 1U << 20U, 2048, 16});
  const auto spans = spans_of(mailbox, [] {
    for (int i = 0; i < 400; ++i) {
      const runmain::Tracer tracer("tracer number " + std::to_string(i));
      const auto span = tracer.start_span("s");
    }
  });
  REQUIRE(spans.size() == 400);
  CHECK(mailbox.scopes[spans[0].span_id] == 1);
  CHECK(mailbox.scopes[spans[399].span_id] == RUNMAIN_SCOPE_LOST);
  CHECK(mailbox.lane(0).dictionary_full > 0);
  CHECK(mailbox.torn == 0);
}
