// Requests out of single items.
#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/batch.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

Item item_of(const std::string& bytes, const std::string& resource, const std::string& scope) {
  Item item;
  item.bytes = bytes;
  item.origin.resource = resource;
  item.origin.scope = scope;
  return item;
}

std::string json_of(const Request& request) {
  const auto json = to_json(request_message(request.signal), request.bytes);
  REQUIRE(json.ok());
  return *json;
}

}  // namespace

TEST_CASE(
    "items are grouped by resource and scope, in their order, without empty envelopes (requirement 47)") {
  const std::string web = make_resource("web");
  const std::string db = make_resource("db");
  const std::string lib = make_scope("lib");
  const std::string none;
  std::string spans[5];
  for (std::uint64_t n = 0; n < 5; ++n) spans[n] = span_number(n + 1);
  Batch batch(Signal::traces);
  CHECK(batch.empty());
  CHECK(batch.add(item_of(spans[0], web, lib)) == Batch::Added::added);
  CHECK(batch.add(item_of(spans[1], db, lib)) == Batch::Added::added);
  CHECK(batch.add(item_of(spans[2], web, none)) == Batch::Added::added);
  CHECK(batch.add(item_of(spans[3], web, lib)) == Batch::Added::added);
  Item with_schema = item_of(spans[4], none, none);
  with_schema.origin.resource_schema = "https://r";
  with_schema.origin.scope_schema = "https://s";
  CHECK(batch.add(with_schema) == Batch::Added::added);
  const Request request = batch.take();
  CHECK(request.items == 5);
  CHECK(batch.empty());

  std::string expected;
  protozero::pbf_writer r{expected};
  const auto scope_spans = [](const std::string& scope, const std::vector<std::string>& its,
                              const char* schema) {
    std::string out;
    protozero::pbf_writer w{out};
    if (!scope.empty()) w.add_message(1, scope);
    for (const std::string& span : its) w.add_message(2, span);
    if (*schema != '\0') w.add_string(3, schema);
    return out;
  };
  const auto resource_spans = [](const std::string& resource, const std::vector<std::string>& its,
                                 const char* schema) {
    std::string out;
    protozero::pbf_writer w{out};
    if (!resource.empty()) w.add_message(1, resource);
    for (const std::string& scope : its) w.add_message(2, scope);
    if (*schema != '\0') w.add_string(3, schema);
    return out;
  };
  r.add_message(
      1, resource_spans(web, {scope_spans(lib, {spans[0], spans[3]}, ""), scope_spans(none, {spans[2]}, "")},
                        ""));
  r.add_message(1, resource_spans(db, {scope_spans(lib, {spans[1]}, "")}, ""));
  r.add_message(1, resource_spans(none, {scope_spans(none, {spans[4]}, "https://s")}, "https://r"));
  CHECK(request.bytes == expected);
  CHECK(check(request_message(Signal::traces), request.bytes).sound());
}

TEST_CASE("a batch is full at its limits, and a request never over them") {
  const std::string resource = make_resource("web");
  const std::string scope = make_scope("lib");
  const std::string span = span_number(1);
  SECTION("items") {
    Batch batch(Signal::traces, {.items = 3});
    for (int i = 0; i < 3; ++i) CHECK(batch.add(item_of(span, resource, scope)) == Batch::Added::added);
    CHECK(batch.full());
    CHECK(batch.add(item_of(span, resource, scope)) == Batch::Added::full);
    CHECK(batch.take().items == 3);
    CHECK(batch.add(item_of(span, resource, scope)) == Batch::Added::added);
  }
  SECTION("bytes") {
    Random random(7);
    for (int round = 0; round < 50; ++round) {
      const BatchLimits limits{.bytes = 500 + random.below(2000), .items = 100000};
      Batch batch(Signal::traces, limits);
      std::vector<std::string> origins;
      std::uint32_t added = 0;
      std::uint32_t taken = 0;
      for (int i = 0; i < 200; ++i) {
        const std::string other = make_resource(std::to_string(random.below(3)));
        SpanSpec spec;
        spec.name = std::string(random.below(300), 'n');
        const std::string bytes = make_span(spec);
        Batch::Added result = batch.add(item_of(bytes, other, scope));
        if (result == Batch::Added::full) {
          const Request request = batch.take();
          REQUIRE(request.bytes.size() <= limits.bytes);
          taken += request.items;
          result = batch.add(item_of(bytes, other, scope));
        }
        REQUIRE(result != Batch::Added::full);
        if (result == Batch::Added::added) ++added;
      }
      if (!batch.empty()) taken += batch.take().items;
      CHECK(added == taken);
      CHECK(added > 100);
    }
  }
  SECTION("an item that fits nowhere") {
    Batch batch(Signal::traces, {.bytes = 1000});
    SpanSpec spec;
    spec.name = std::string(2000, 'n');
    const std::string bytes = make_span(spec);
    CHECK(batch.add(item_of(bytes, resource, scope)) == Batch::Added::too_big);
    CHECK(batch.empty());
  }
  SECTION("no limit is above what may be sent (requirement 44)") {
    Batch batch(Signal::traces, {.bytes = 1U << 30U, .items = 1000});
    SpanSpec spec;
    spec.name = std::string(30U << 20U, 'n');
    const std::string bytes = make_span(spec);
    CHECK(batch.add(item_of(bytes, resource, scope)) == Batch::Added::added);
    CHECK(batch.add(item_of(bytes, resource, scope)) == Batch::Added::added);
    CHECK(batch.add(item_of(bytes, resource, scope)) == Batch::Added::full);
    CHECK(batch.take().bytes.size() <= kRequestBytesMax);
  }
}

TEST_CASE("a resource that many scopes share counts once, however large it is") {
  const std::string resource = make_resource(std::string(1000, 'r'));
  const std::string span = span_number(1);
  const std::string scopes[] = {make_scope("a"), make_scope("b"), make_scope("c")};
  Batch batch(Signal::traces, {.bytes = 3000});
  for (int n = 0; n < 12; ++n)
    REQUIRE(batch.add(item_of(span, resource, scopes[n % 3])) == Batch::Added::added);
  const Request request = batch.take();
  CHECK(request.items == 12);
  CHECK(request.bytes.size() <= 3000);
  CHECK(check(request_message(Signal::traces), request.bytes).sound());
}

TEST_CASE("logs and metrics have the same envelopes") {
  std::string metric;
  protozero::pbf_writer{metric}.add_string(1, "requests");
  Batch batch(Signal::metrics);
  Item item = item_of(metric, make_resource("web"), make_scope("lib"));
  item.signal = Signal::metrics;
  const std::string resource = make_resource("web");
  const std::string scope = make_scope("lib");
  item.origin = {resource, {}, scope, {}};
  CHECK(batch.add(item) == Batch::Added::added);
  CHECK(
      json_of(batch.take()) ==
      R"({"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"web"}}]},)"
      R"("scopeMetrics":[{"scope":{"name":"lib"},"metrics":[{"name":"requests"}]}]}]})");
}
