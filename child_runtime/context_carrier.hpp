// From a carrier (headers, the environment) to a context that can be a span's parent, and back.
//
//   auto span = runmain::start_as_current_span("GET /", {.kind = runmain::SpanKind::server,
//                                                        .parent = runmain::extract_context(headers)});
//   runmain::inject_context(request.headers);             // the current one goes along
//
// Invariant: what is said in propagation.hpp and current.hpp holds here; nothing throws. Header only.
// Non-goal: making a context current (current.hpp).
#pragma once

#include <iterator>
#include <string_view>
#include <utility>

#include "current.hpp"
#include "propagation.hpp"

namespace runmain {

namespace detail {

inline std::string_view bytes_of(runmain_shared* shared) noexcept {
  if (shared == nullptr) return {};
  return {static_cast<const char*>(runmain_shared_bytes(shared)), shared->size};
}

inline bool is_valid(const runmain_span_context& span) noexcept {
  const auto any = [](const auto& id) {
    return std::any_of(std::begin(id), std::end(id), [](auto b) { return b != 0; });
  };
  return any(span.trace_id) && any(span.span_id);
}

// With one holder, or nullptr: empty, or no memory.
inline runmain_shared* shared_of(std::string_view bytes) noexcept {
  return bytes.empty() ? nullptr : runmain_shared_make(bytes.data(), bytes.size());
}

}  // namespace detail

// The empty context if nothing was propagated.
inline Context to_context(const Propagated& from) noexcept {
  const bool has_span = detail::is_valid(from.span);
  if (!has_span && from.baggage.empty()) return {};
  runmain_shared* state = has_span ? detail::shared_of(from.state.header()) : nullptr;
  runmain_shared* baggage = detail::shared_of(from.baggage.header());
  const runmain_context* made = runmain_context_make(has_span ? &from.span : nullptr, state, baggage);
  runmain_shared_release(state);
  runmain_shared_release(baggage);
  return Context::adopt(made);
}

inline Propagated to_propagated(const Context& context) noexcept {
  Propagated out;
  out.span = context.span_context();
  if (const auto state = TraceState::parse(detail::bytes_of(runmain_context_trace_state(context.get()))))
    out.state = *state;
  out.baggage = Baggage::parse(detail::bytes_of(runmain_context_baggage(context.get())));
  return out;
}

// What these headers carry: any carrier that extract() takes.
template <class Carrier>
Context extract_context(Carrier&& headers) noexcept {
  Propagated found;
  extract(std::forward<Carrier>(headers), found);
  return to_context(found);
}

// True if the carrier took all of it; any carrier that inject() takes.
template <class Carrier>
bool inject_context(Carrier&& headers, const Context& context = Context::current()) noexcept {
  return inject(std::forward<Carrier>(headers), to_propagated(context));
}

// What this process was started with (TRACEPARENT, TRACESTATE, BAGGAGE).
inline Context inherited_context() noexcept {
  Propagated found;
  inherited(found);
  return to_context(found);
}

}  // namespace runmain
