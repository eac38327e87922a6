// Any bytes as a connection of an OTLP/HTTP client: the same requests come out of them however they are cut,
// none is beyond the limits, and what was read is judged and taken in without a fault.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/identity.hpp"
#include "telemetry/otlp_intake.hpp"
#include "telemetry/otlp_wire.hpp"

using namespace runmain;
using namespace runmain::telemetry;

namespace {

constexpr HttpLimits kLimits{.head = 512, .fields = 20, .body = 2048};
constexpr OtlpLimits kOtlpLimits{.body = 8192, .items = 100};

void must(bool holds) {
  if (!holds) std::abort();
}

// Its head is no longer random: what its body may be is looked at in every form.
void take(const HttpReader& reader) {
  HttpRequest request = reader.request();
  (void)judge_head(request, "secret");
  request.token = otlp_token("secret", ChildKey{});
  const auto judged = judge_head(request, "secret");
  const auto* call = std::get_if<OtlpCall>(&judged);
  if (call == nullptr) return;
  const auto intake = take_in(*call, reader.body(), kOtlpLimits);
  if (!intake) {
    must(intake.error().code == 400 || intake.error().code == 413);
    return;
  }
  for (const Item& item : (*intake)->items) must(check(item_message(item.signal), item.bytes).sound());
  must(!to_bytes(answer_of(*call, **intake), true).empty());
}

std::string read(std::string_view bytes, std::size_t cut, bool skip) {
  HttpReader reader(kLimits);
  std::string seen;
  for (;;) {
    must(reader.body().size() <= kLimits.body);
    switch (reader.state()) {
      case HttpReader::State::decide:
        if (skip) {
          reader.skip_body();
        } else {
          reader.keep_body();
        }
        continue;
      case HttpReader::State::complete:
        must(!reader.request().method.empty() && !reader.request().path.empty());
        if (cut == 0 && !skip) take(reader);
        seen += reader.request().method + " " + reader.request().path + " " + reader.request().content_type +
                (skip ? "" : reader.body()) + "\n";
        must(!skip || reader.body().empty());
        reader.next();
        continue;
      case HttpReader::State::failed:
        must(reader.fault().status >= 400 && !reader.fault().message.empty());
        return seen + std::to_string(reader.fault().status);
      default: break;
    }
    if (bytes.empty()) return seen + (reader.is_within() ? "…" : "");
    const std::size_t n = reader.feed(cut == 0 ? bytes : bytes.substr(0, cut));
    must(n > 0 && n <= bytes.size());
    bytes.remove_prefix(n);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string whole = read(bytes, 0, false);
  must(read(bytes, 1, false) == whole);
  must(read(bytes, 7, false) == whole);
  must(read(bytes, 1, true) == read(bytes, 0, true));
  return 0;
}
