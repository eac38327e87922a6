#include "telemetry/batch.hpp"

#include <algorithm>
#include <protozero/pbf_writer.hpp>

#include "telemetry/schema.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::size_t kTagAndLength = 1 + 5;  // fields 1 to 15, lengths below 2^35

std::size_t varint_size(std::size_t value) {
  std::size_t size = 1;
  for (; value >= 0x80; value >>= 7U) ++size;
  return size;
}

std::size_t field_size(std::size_t length) { return 1 + varint_size(length) + length; }

std::size_t optional_size(std::string_view value) { return value.empty() ? 0 : field_size(value.size()); }

}  // namespace

struct Batch::Scope {
  std::string itself;
  std::string schema;
  std::string items;  // each with its tag and length
  std::size_t size() const { return optional_size(itself) + items.size() + optional_size(schema); }
};

struct Batch::Resource {
  std::string itself;
  std::string schema;
  std::vector<std::unique_ptr<Scope>> scopes;
  std::size_t size() const {
    std::size_t all = optional_size(itself) + optional_size(schema);
    for (const auto& scope : scopes) all += field_size(scope->size());
    return all;
  }
};

Batch::Batch(Signal signal, BatchLimits limits) : signal_(signal), limits_(limits) {
  limits_.bytes = std::min(limits_.bytes, kRequestBytesMax);
}

Batch::~Batch() = default;
Batch::Batch(Batch&&) noexcept = default;
Batch& Batch::operator=(Batch&&) noexcept = default;

Batch::Added Batch::add(const Item& item) {
  const Origin& origin = item.origin;
  const std::size_t item_size = kTagAndLength + item.bytes.size();
  // As if its resource and its scope were not there yet.
  const std::size_t most = item_size + origin.resource.size() + origin.resource_schema.size() +
                           origin.scope.size() + origin.scope_schema.size() + 6 * kTagAndLength;
  if (most > limits_.bytes) return Added::too_big;
  if (items_ >= limits_.items) return Added::full;
  if (last_scope_ == nullptr || origin != last_origin_) find(origin);
  // A resource that many scopes share counts once: else a large one would close a batch at each scope.
  std::size_t size = item_size;
  if (last_resource_ == nullptr)
    size += origin.resource.size() + origin.resource_schema.size() + 3 * kTagAndLength;
  if (last_scope_ == nullptr) size += origin.scope.size() + origin.scope_schema.size() + 3 * kTagAndLength;
  if (size_ + size > limits_.bytes) return Added::full;
  if (last_scope_ == nullptr) make(origin);
  size_ += size;
  protozero::pbf_writer{last_scope_->items}.add_message(kScopeItems, item.bytes.data(), item.bytes.size());
  ++items_;
  return Added::added;
}

// Batches have few of either: looking through them is quicker than hashing.
void Batch::find(const Origin& origin) {
  last_resource_ = nullptr;
  last_scope_ = nullptr;
  for (const auto& known : resources_) {
    if (known->itself == origin.resource && known->schema == origin.resource_schema)
      last_resource_ = known.get();
  }
  if (last_resource_ == nullptr) return;
  for (const auto& known : last_resource_->scopes) {
    if (known->itself == origin.scope && known->schema == origin.scope_schema) last_scope_ = known.get();
  }
  if (last_scope_ != nullptr) note();
}

void Batch::make(const Origin& origin) {
  if (last_resource_ == nullptr) {
    last_resource_ = resources_.emplace_back(std::make_unique<Resource>()).get();
    last_resource_->itself = origin.resource;
    last_resource_->schema = origin.resource_schema;
  }
  last_scope_ = last_resource_->scopes.emplace_back(std::make_unique<Scope>()).get();
  last_scope_->itself = origin.scope;
  last_scope_->schema = origin.scope_schema;
  note();
}

void Batch::note() {
  last_origin_ = {last_resource_->itself, last_resource_->schema, last_scope_->itself, last_scope_->schema};
}

Request Batch::take() {
  Request request;
  request.signal = signal_;
  request.items = items_;
  std::size_t size = 0;
  for (const auto& resource : resources_) size += field_size(resource->size());
  request.bytes.reserve(size);
  protozero::pbf_writer out{request.bytes};
  const auto add_length = [&request](std::uint32_t field, std::size_t length) {
    request.bytes.push_back(static_cast<char>((field << 3U) | 2U));
    protozero::write_varint(std::back_inserter(request.bytes), length);
  };
  for (const auto& resource : resources_) {
    add_length(kRequestResources, resource->size());
    if (!resource->itself.empty()) out.add_message(kResourceItself, resource->itself);
    for (const auto& scope : resource->scopes) {
      add_length(kResourceScopes, scope->size());
      if (!scope->itself.empty()) out.add_message(kScopeItself, scope->itself);
      request.bytes += scope->items;
      if (!scope->schema.empty()) out.add_string(kSchemaUrl, scope->schema);
    }
    if (!resource->schema.empty()) out.add_string(kSchemaUrl, resource->schema);
  }
  resources_.clear();
  last_resource_ = nullptr;
  last_scope_ = nullptr;
  last_origin_ = {};
  size_ = 0;
  items_ = 0;
  return request;
}

}  // namespace runmain::telemetry
