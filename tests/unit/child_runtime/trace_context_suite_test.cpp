// The cases of the W3C Trace Context suite (github.com/w3c/trace-context, test/test.py, 41 cases), each under
// its name there: headers come to a service, and what it sends on is judged. The suite itself, run by hand:
// docs/propagation.md.
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/trace_hop.hpp"

using trace_hop::Headers;
using trace_hop::Hop;

namespace {

const std::string kTrace = "12345678901234567890123456789012";
const std::string kParent = "1234567890123456";
const std::string kUnsampled = "00-" + kTrace + "-" + kParent + "-00";
const std::string kSampled = "00-" + kTrace + "-" + kParent + "-01";

// What one outgoing request carries, read without our own parsers.
struct Sent {
  std::string trace_id;
  std::string parent_id;
  unsigned flags = 0;
  std::string state;  // all tracestate headers, joined

  std::vector<std::pair<std::string, std::string>> members() const {
    std::vector<std::pair<std::string, std::string>> out;
    for (std::size_t at = 0; at < state.size();) {
      const std::size_t equals = state.find('=', at);
      const std::size_t end = std::min(state.find(',', at), state.size());
      REQUIRE(equals < end);
      out.emplace_back(state.substr(at, equals - at), state.substr(equals + 1, end - equals - 1));
      at = end + 1;
    }
    return out;
  }
  // The member's value, "-" if there is none.
  std::string at(const std::string& key) const {
    for (const auto& [name, value] : members()) {
      if (name == key) return value;
    }
    return "-";
  }
};

// 00-32HEX-16HEX-2HEX, lower case, no id all zero.
void read_parent(const std::string& value, Sent& out) {
  REQUIRE(value.size() == 55);
  CHECK(value.substr(0, 3) == "00-");
  CHECK(value.find_first_not_of("0123456789abcdef-") == std::string::npos);
  CHECK(std::count(value.begin(), value.end(), '-') == 3);
  out.trace_id = value.substr(3, 32);
  out.parent_id = value.substr(36, 16);
  CHECK(value[35] == '-');
  CHECK(value[52] == '-');
  CHECK(out.trace_id != std::string(32, '0'));
  CHECK(out.parent_id != std::string(16, '0'));
  out.flags = static_cast<unsigned>(std::stoul(value.substr(53), nullptr, 16));
}

Sent read(const Headers& headers) {
  Sent out;
  unsigned parents = 0;
  for (const auto& [name, value] : headers) {
    if (name == "tracestate") out.state += (out.state.empty() ? "" : ",") + value;
    if (name != "traceparent") continue;
    ++parents;
    read_parent(value, out);
  }
  CHECK(parents == 1);
  return out;
}

Sent sent(const Headers& incoming) { return read(Hop(incoming).outgoing()); }
Sent sent_for(const std::string& traceparent) { return sent({{"traceparent", traceparent}}); }

// With a traceparent and these tracestate headers.
Sent sent_with(const std::vector<std::string>& states) {
  Headers headers{{"traceparent", kUnsampled}};
  for (const std::string& state : states) headers.emplace_back("tracestate", state);
  Sent out = sent(headers);
  CHECK(out.trace_id == kTrace);
  return out;
}

bool goes_on(const std::string& traceparent) { return sent_for(traceparent).trace_id == kTrace; }

}  // namespace

// ---- TraceContextTest ----

TEST_CASE("test_both_traceparent_and_tracestate_missing: a valid traceparent goes out") { (void)sent({}); }

TEST_CASE("test_traceparent_included_tracestate_missing: the trace goes on under another parent") {
  const Sent out = sent_for(kSampled);
  CHECK(out.trace_id == kTrace);
  CHECK(out.parent_id != kParent);
}

TEST_CASE("test_traceparent_duplicated: two of them start a new trace") {
  const std::string other = "12345678901234567890123456789011";
  const Sent out = sent({{"traceparent", "00-" + other + "-" + kParent + "-01"}, {"traceparent", kSampled}});
  CHECK(out.trace_id != other);
  CHECK(out.trace_id != kTrace);
}

TEST_CASE("test_traceparent_header_name: under a wrong name it is not read") {
  for (const char* name : {"trace-parent", "trace.parent"}) {
    CHECK(sent({{name, kSampled}}).trace_id != kTrace);
  }
}

TEST_CASE("test_traceparent_header_name_valid_casing: the name is read in every case") {
  for (const char* name : {"TraceParent", "TrAcEpArEnT", "TRACEPARENT"}) {
    CHECK(sent({{name, kSampled}}).trace_id == kTrace);
  }
}

TEST_CASE("test_traceparent_version_0x00: nothing may follow") {
  CHECK_FALSE(goes_on(kSampled + "."));
  CHECK_FALSE(goes_on(kSampled + "-what-the-future-will-be-like"));
}

TEST_CASE("test_traceparent_version_0xcc: of a later version the known part is read") {
  const std::string later = "cc" + kSampled.substr(2);
  CHECK(goes_on(later));
  CHECK(goes_on(later + "-what-the-future-will-be-like"));
  CHECK_FALSE(goes_on(later + ".what-the-future-will-be-like"));
}

TEST_CASE("test_traceparent_version_0xff: that version is none") {
  CHECK_FALSE(goes_on("ff" + kSampled.substr(2)));
}

TEST_CASE("test_traceparent_version_illegal_characters: it is not read") {
  CHECK_FALSE(goes_on(".0" + kSampled.substr(2)));
  CHECK_FALSE(goes_on("0." + kSampled.substr(2)));
}

TEST_CASE("test_traceparent_version_too_long: it is not read") {
  CHECK_FALSE(goes_on("0" + kSampled));
  CHECK_FALSE(goes_on("00" + kSampled));
}

TEST_CASE("test_traceparent_version_too_short: it is not read") { CHECK_FALSE(goes_on(kSampled.substr(1))); }

TEST_CASE("test_traceparent_trace_id_all_zero: it is not read") {
  const std::string zeros(32, '0');
  CHECK(sent_for("00-" + zeros + "-" + kParent + "-01").trace_id != zeros);
}

TEST_CASE("test_traceparent_trace_id_illegal_characters: it is not read") {
  const std::string end = "-" + kParent + "-01";
  const std::string first = ".2345678901234567890123456789012";
  const std::string last = "1234567890123456789012345678901.";
  for (const std::string& bad : {first, last}) {
    const std::string trace_id = sent_for("00-" + bad + end).trace_id;
    CHECK(trace_id != bad);
    CHECK(trace_id.substr(1, 30) != bad.substr(1, 30));
  }
}

TEST_CASE("test_traceparent_trace_id_too_long: neither end of it is taken") {
  const std::string trace_id = sent_for("00-" + kTrace + "3-" + kParent + "-01").trace_id;
  CHECK(trace_id != kTrace);
  CHECK(trace_id != (kTrace + "3").substr(1));
}

TEST_CASE("test_traceparent_trace_id_too_short: it is not read") {
  const std::string trace_id = sent_for("00-" + kTrace.substr(0, 31) + "-" + kParent + "-01").trace_id;
  CHECK(trace_id.substr(0, 31) != kTrace.substr(0, 31));
}

TEST_CASE("test_traceparent_parent_id_all_zero: it is not read") {
  CHECK_FALSE(goes_on("00-" + kTrace + "-0000000000000000-01"));
}

TEST_CASE("test_traceparent_parent_id_illegal_characters: it is not read") {
  CHECK_FALSE(goes_on("00-" + kTrace + "-.234567890123456-01"));
  CHECK_FALSE(goes_on("00-" + kTrace + "-123456789012345.-01"));
}

TEST_CASE("test_traceparent_parent_id_too_long: it is not read") {
  CHECK_FALSE(goes_on("00-" + kTrace + "-" + kParent + "7-01"));
}

TEST_CASE("test_traceparent_parent_id_too_short: it is not read") {
  CHECK_FALSE(goes_on("00-" + kTrace + "-" + kParent.substr(0, 15) + "-01"));
}

TEST_CASE("test_traceparent_trace_flags_illegal_characters: it is not read") {
  CHECK_FALSE(goes_on("00-" + kTrace + "-" + kParent + "-.0"));
  CHECK_FALSE(goes_on("00-" + kTrace + "-" + kParent + "-0."));
}

TEST_CASE("test_traceparent_trace_flags_too_long: it is not read") {
  CHECK_FALSE(goes_on("00-" + kTrace + "-" + kParent + "-001"));
}

TEST_CASE("test_traceparent_trace_flags_too_short: it is not read") {
  CHECK_FALSE(goes_on("00-" + kTrace + "-" + kParent + "-1"));
}

TEST_CASE("test_traceparent_ows_handling: white space around it does not count") {
  CHECK(goes_on(" " + kSampled));
  CHECK(goes_on("\t" + kSampled));
  CHECK(goes_on(kSampled + " "));
  CHECK(goes_on(kSampled + "\t"));
  CHECK(goes_on("\t " + kSampled + " \t"));
}

TEST_CASE("test_tracestate_included_traceparent_missing: it is dropped") {
  const Sent one = sent({{"tracestate", "foo=1"}});
  const Sent two = sent({{"tracestate", "foo=1,bar=2"}});
  CHECK(one.members().size() == two.members().size());
  CHECK(two.at("foo") == "-");
}

TEST_CASE("test_tracestate_included_traceparent_included: it goes on") {
  const Sent out = sent_with({"foo=1,bar=2"});
  CHECK(out.at("foo") == "1");
  CHECK(out.at("bar") == "2");
}

TEST_CASE("test_tracestate_header_name: under a wrong name it is not read") {
  for (const char* name : {"trace-state", "trace.state"}) {
    CHECK(sent({{"traceparent", kUnsampled}, {name, "foo=1"}}).at("foo") == "-");
  }
}

TEST_CASE("test_tracestate_header_name_valid_casing: the name is read in every case") {
  for (const char* name : {"TraceState", "TrAcEsTaTe", "TRACESTATE"}) {
    CHECK(sent({{"traceparent", kUnsampled}, {name, "foo=1"}}).at("foo") == "1");
  }
}

TEST_CASE("test_tracestate_empty_header: empty ones do not count and are not sent") {
  CHECK(sent_with({""}).state.empty());
  CHECK(sent_with({"foo=1", ""}).at("foo") == "1");
  CHECK(sent_with({"", "foo=1"}).at("foo") == "1");
}

TEST_CASE("test_tracestate_multiple_headers_different_keys: they are combined in their order") {
  CHECK(sent_with({"foo=1,bar=2", "rojo=1,congo=2", "baz=3"}).state == "foo=1,bar=2,rojo=1,congo=2,baz=3");
}

TEST_CASE("test_tracestate_duplicated_keys: one of them goes on") {
  CHECK(sent_with({"foo=1,foo=1"}).state == "foo=1");
  CHECK(sent_with({"foo=1,foo=2"}).state == "foo=1");
  CHECK(sent_with({"foo=1", "foo=1"}).state == "foo=1");
  CHECK(sent_with({"foo=1", "foo=2"}).state == "foo=1");
}

TEST_CASE("test_tracestate_all_allowed_characters: they go on") {
  const std::string key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
  std::string value;
  for (char c = 0x20; c <= 0x7e; ++c) {
    if (c != ',' && c != '=') value += c;
  }
  CHECK(sent_with({key + "=" + value}).at(key) == value);
  CHECK(sent_with({key + "@a-z0-9_-*/=" + value}).at(key + "@a-z0-9_-*/") == value);
}

TEST_CASE("test_tracestate_ows_handling: white space around members does not count") {
  CHECK(sent_with({"foo=1 \t , \t bar=2, \t baz=3"}).state == "foo=1,bar=2,baz=3");
  CHECK(sent_with({"foo=1\t \t,\t \tbar=2,\t \tbaz=3"}).state == "foo=1,bar=2,baz=3");
  for (const char* state : {" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"}) {
    CHECK(sent_with({state}).state == "foo=1");
  }
}

TEST_CASE("test_tracestate_key_illegal_characters: the tracestate is dropped") {
  for (const char* state : {"foo =1", "FOO=1", "foo.bar=1"}) CHECK(sent_with({state}).state.empty());
}

TEST_CASE("test_tracestate_key_illegal_vendor_format: an @ is allowed, but not first") {
  for (const char* state : {"foo@=1,bar=2", "foo@@bar=1,bar=2", "foo@bar@baz=1,bar=2"}) {
    CHECK(sent_with({state}).state == state);
  }
  CHECK(sent_with({"@foo=1,bar=2"}).at("bar") == "-");
}

TEST_CASE("test_tracestate_member_count_limit: 32 go on, 33 are dropped") {
  std::vector<std::string> states(4);
  for (int i = 1; i <= 32; ++i) {
    const std::string number = std::string(i < 10 ? "0" : "") + std::to_string(i);
    std::string& state = states[static_cast<std::size_t>((i - 1) / 10)];
    state += (state.empty() ? "bar" : ",bar") + number + "=" + number;
  }
  const Sent out = sent_with(states);
  CHECK(out.at("bar01") == "01");
  CHECK(out.members().size() == 32);
  states.back() += ",bar33=33";
  CHECK(sent_with(states).at("bar01") == "-");
}

TEST_CASE("test_tracestate_key_length_limit: a key has 256 characters at most") {
  for (const std::string& key : {std::string(256, 'z'), std::string(241, 't') + "@" + std::string(14, 'v'),
                                 std::string(242, 't') + "@v", "t@" + std::string(15, 'v')}) {
    const Sent out = sent_with({"foo=1", key + "=1"});
    CHECK(out.at("foo") == "1");
    CHECK(out.at(key) == "1");
  }
  CHECK(sent_with({"foo=1", std::string(257, 'z') + "=1"}).at("foo") == "-");
}

TEST_CASE("test_tracestate_value_illegal_characters: the tracestate is dropped") {
  CHECK(sent_with({"foo=bar=baz"}).at("foo") == "-");
  const Sent out = sent_with({"foo=,bar=3"});
  CHECK(out.at("foo") == "-");
  CHECK(out.at("bar") == "-");
}

// ---- AdvancedTest ----

namespace {

struct Ids {
  std::set<std::string> traces;
  std::set<std::string> parents;
};

Ids three_requests(const Headers& incoming) {
  Hop hop(incoming);
  Ids out;
  for (int i = 0; i < 3; ++i) {
    const Sent one = read(hop.outgoing());
    out.traces.insert(one.trace_id);
    out.parents.insert(one.parent_id);
  }
  return out;
}

}  // namespace

TEST_CASE("test_multiple_requests_with_valid_traceparent: one trace, a parent for each") {
  const Ids ids = three_requests({{"traceparent", kSampled}});
  CHECK(ids.traces == std::set<std::string>{kTrace});
  CHECK(ids.parents.size() == 3);
}

TEST_CASE("test_multiple_requests_without_traceparent: a parent for each") {
  CHECK(three_requests({}).parents.size() == 3);
}

TEST_CASE("test_multiple_requests_with_illegal_traceparent: a new trace, a parent for each") {
  const std::string zeros(32, '0');
  const Ids ids = three_requests({{"traceparent", "00-" + zeros + "-" + kParent + "-01"}});
  CHECK(ids.traces.count(zeros) == 0);
  CHECK(ids.parents.size() == 3);
}

// ---- TraceContext2Test ----

TEST_CASE("test_propagates_random_flag: the flag of level 2 goes on") {
  const Sent out = sent_for("00-" + kTrace + "-" + kParent + "-02");
  CHECK(out.trace_id == kTrace);
  CHECK(out.parent_id != kParent);
  CHECK(out.flags == 2);
}
