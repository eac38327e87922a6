// The envelopes around spans, metrics and log records, and what a collector answers.
#include <protozero/pbf_reader.hpp>
#include <utility>

#include "telemetry/otlp_wire.hpp"
#include "telemetry/utf8.hpp"

namespace runmain::telemetry {
namespace {

using protozero::pbf_reader;
using Wire = protozero::pbf_wire_type;

std::string_view view_of(pbf_reader& in) {
  const protozero::data_view view = in.get_view();
  return {view.data(), view.size()};
}

pbf_reader reader_of(std::string_view bytes) { return pbf_reader{bytes.data(), bytes.size()}; }

// Calls `use` with the value of each field that has a length; the others are of no interest in envelopes.
void each_long_field(std::string_view bytes,
                     const std::function<void(std::uint32_t number, std::string_view value)>& use) {
  pbf_reader in = reader_of(bytes);
  while (in.next()) {
    if (in.wire_type() == Wire::length_delimited) {
      const std::uint32_t number = in.tag();
      use(number, view_of(in));
    } else {
      in.skip();
    }
  }
}

struct Envelope {
  std::string_view itself;  // Resource or InstrumentationScope
  std::string_view schema;
};

// They may come after what they are of.
Envelope envelope_of(std::string_view bytes) {
  Envelope found;
  each_long_field(bytes, [&](std::uint32_t number, std::string_view value) {
    if (number == kResourceItself) found.itself = value;
    if (number == kSchemaUrl) found.schema = value;
  });
  return found;
}

// A resource or a scope with a fault loses what it says; its spans are kept.
std::string_view usable(const Message& message, std::string_view bytes, const Keep& keep) {
  const Checked found = check(message, bytes);
  if (found.sound()) return bytes;
  return found.valid() ? keep(repair(message, bytes)) : std::string_view();
}

std::string_view usable_text(std::string_view text) { return is_utf8(text) ? text : std::string_view(); }

using Use = std::function<void(const Item&)>;

// Of one ResourceSpans (…Metrics, …Logs). What its origin says is looked at once there is an item of it:
// a hostile request may have a million scopes with a fault and nothing in them.
class Walk {
 public:
  // Without `use`: only to see whether all of it can be walked.
  Walk(Signal signal, const Keep& keep, const Use& use) : keep_(keep), use_(use) { item_.signal = signal; }

  // Returns how many items there were.
  std::size_t resource(std::string_view bytes) {
    const Envelope resource = envelope_of(bytes);
    bool is_known = false;
    std::size_t count = 0;
    each_long_field(bytes, [&](std::uint32_t number, std::string_view value) {
      if (number == kResourceScopes) count += scope(value, resource, is_known);
    });
    return count;
  }

 private:
  std::size_t scope(std::string_view bytes, const Envelope& resource, bool& is_resource_known) {
    const Envelope scope = envelope_of(bytes);
    bool is_known = false;
    std::size_t count = 0;
    each_long_field(bytes, [&](std::uint32_t number, std::string_view value) {
      if (number != kScopeItems) return;
      ++count;
      if (!use_) return;
      Origin& origin = item_.origin;
      if (!std::exchange(is_resource_known, true)) {
        origin.resource = usable(kResource, resource.itself, keep_);
        origin.resource_schema = usable_text(resource.schema);
      }
      if (!std::exchange(is_known, true)) {
        origin.scope = usable(kScope, scope.itself, keep_);
        origin.scope_schema = usable_text(scope.schema);
      }
      item_.bytes = value;
      use_(item_);
    });
    return count;
  }

  const Keep& keep_;
  const Use& use_;
  Item item_;
};

std::size_t walk_request(Signal signal, std::string_view request, const Keep& keep, const Use& use) {
  std::size_t count = 0;
  each_long_field(request, [&](std::uint32_t number, std::string_view part) {
    if (number == kRequestResources) count += Walk(signal, keep, use).resource(part);
  });
  return count;
}

}  // namespace

Result<std::size_t> each_item(Signal signal, std::string_view request, const Keep& keep, const Use& use) {
  try {
    walk_request(signal, request, nullptr, nullptr);
    return walk_request(signal, request, keep, use);
  } catch (const protozero::exception&) {
    return Error{"not an " + std::string(request_message(signal).name)};
  }
}

Result<PartialSuccess> read_partial_success(std::string_view bytes) {
  PartialSuccess found;
  try {
    pbf_reader in = reader_of(bytes);
    while (in.next()) {
      if (in.tag() != 1 || in.wire_type() != Wire::length_delimited) {
        in.skip();
        continue;
      }
      pbf_reader partial = in.get_message();
      while (partial.next()) {
        if (partial.tag() == 1 && partial.wire_type() == Wire::varint) {
          found.rejected = partial.get_int64();
        } else if (partial.tag() == 2 && partial.wire_type() == Wire::length_delimited) {
          found.message = to_utf8(view_of(partial));
        } else {
          partial.skip();
        }
      }
    }
  } catch (const protozero::exception&) {
    return Error{"the answer is not protobuf"};
  }
  return found;
}

std::string status_message(std::string_view bytes) {
  std::string found;
  try {
    each_long_field(bytes, [&](std::uint32_t number, std::string_view value) {
      if (number == 2 && is_utf8(value)) found = value;
    });
  } catch (const protozero::exception&) {
    return {};
  }
  return found;
}

}  // namespace runmain::telemetry
