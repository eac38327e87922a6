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
  if (items_ >= limits_.items || size_ + most > limits_.bytes) return Added::full;
  const bool known = last_scope_ != nullptr && origin == last_origin_;
  Scope& scope = known ? *last_scope_ : scope_of(origin);
  size_ += known ? item_size : most;
  protozero::pbf_writer{scope.items}.add_message(kScopeItems, item.bytes.data(), item.bytes.size());
  ++items_;
  return Added::added;
}

// Batches have few of either: looking through them is quicker than hashing.
Batch::Scope& Batch::scope_of(const Origin& origin) {
  Resource* resource = nullptr;
  for (const auto& known : resources_) {
    if (known->itself == origin.resource && known->schema == origin.resource_schema) resource = known.get();
  }
  if (resource == nullptr) {
    resources_.push_back(std::make_unique<Resource>());
    resource = resources_.back().get();
    resource->itself = origin.resource;
    resource->schema = origin.resource_schema;
  }
  last_scope_ = nullptr;
  for (const auto& known : resource->scopes) {
    if (known->itself == origin.scope && known->schema == origin.scope_schema) last_scope_ = known.get();
  }
  if (last_scope_ == nullptr) {
    resource->scopes.push_back(std::make_unique<Scope>());
    last_scope_ = resource->scopes.back().get();
    last_scope_->itself = origin.scope;
    last_scope_->schema = origin.scope_schema;
  }
  last_origin_ = {resource->itself, resource->schema, last_scope_->itself, last_scope_->schema};
  return *last_scope_;
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
  last_scope_ = nullptr;
  last_origin_ = {};
  size_ = 0;
  items_ = 0;
  return request;
}

}  // namespace runmain::telemetry
