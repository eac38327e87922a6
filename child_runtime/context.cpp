#include "context.hpp"

#include <cstring>

#include "span.hpp"

namespace runmain::child {
namespace {

void add_holder(const runmain_context* context) {
  if (!is_static(context))
    __atomic_fetch_add(const_cast<std::uint32_t*>(&context->holders), 1, __ATOMIC_RELAXED);
}

std::uintptr_t load_thread(const Scope& scope) { return __atomic_load_n(&scope.thread, __ATOMIC_ACQUIRE); }

// The span that this context is a part of, nullptr: it is one by itself.
runmain_span* span_around(const runmain_context* context) {
  if (context == nullptr || context->owner == nullptr || &context->owner->context != context) return nullptr;
  return context->owner;
}
// … if it is current somewhere or was made so, and not left.
Scope* scope_of(const runmain_context* context) {
  runmain_span* span = span_around(context);
  return span != nullptr && span->scope.entered ? &span->scope : nullptr;
}

// `context` becomes the top of the calling thread's chain.
void become_current(const runmain_context* context) {
  t_local.current = context;
  Scope* scope = scope_of(context);
  std::uintptr_t nowhere = kNowhere;
  if (scope != nullptr && load_thread(*scope) == kNowhere)
    __atomic_compare_exchange_n(&scope->thread, &nowhere, thread_self(), false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
}

// The calling thread has it in its chain no more.
void drop_from_chain(const runmain_context* context, Scope& scope) {
  if ((__atomic_exchange_n(&scope.thread, kNowhere, __ATOMIC_ACQ_REL) & kLeft) != 0)
    runmain_context_release(context);
}

// In the chain of the calling thread: what is above `span` goes on with what was before it. False: it is not
// there.
bool take_out(runmain_span& span) {
  const runmain_context* const mine = &span.context;
  for (Scope* above = scope_of(t_local.current); above != nullptr; above = scope_of(above->before)) {
    if (above->before != mine) continue;
    above->before = span.scope.before;
    if (above->keeps_before) {
      runmain_context_retain(above->before);
      runmain_context_release(mine);
    }
    return true;
  }
  return false;
}

void free_context(runmain_context* context) {
  if (runmain_span* span = span_around(context)) return free_span(span);
  runmain_shared_release(context->trace_state);
  runmain_shared_release(context->baggage);
  if (context->owner != nullptr) runmain_context_release(&context->owner->context);
  give_block_here(Block::of(context));
}

// What is below a context that gets a reference while it is current must stay as long.
void keep_chain(const runmain_context* context) {
  for (Scope* scope = scope_of(context); scope != nullptr; scope = scope_of(scope->before)) {
    if (scope->keeps_before || scope->before == nullptr || load_thread(*scope) != thread_self()) return;
    scope->keeps_before = true;
    add_holder(scope->before);
  }
}

bool is_in_chain_of(const runmain_context* top, const runmain_context* context) {
  for (; top != nullptr; top = scope_of(top) != nullptr ? scope_of(top)->before : nullptr) {
    if (top == context) return true;
  }
  return false;
}

// What stands below `top`, and not in the chain of `next`, leaves the calling thread's chain with it: it goes
// on where `top` does, as in a coroutine that another thread resumes.
void hand_over_below(const runmain_context* top, const runmain_context* next) {
  const Scope* above = scope_of(top);
  while (above != nullptr && above->keeps_before && !is_in_chain_of(next, above->before)) {
    Scope* scope = scope_of(above->before);
    if (scope == nullptr || (load_thread(*scope) & ~kLeft) != thread_self()) return;
    if (!scope->keeps_before && scope->before != nullptr) {
      scope->keeps_before = true;
      add_holder(scope->before);
    }
    drop_from_chain(above->before, *scope);  // held by what is above it
    above = scope;
  }
}

runmain_context* new_context() {
  Block* block = take_block_here(sizeof(runmain_context));
  if (block == nullptr) return nullptr;
  auto* context = reinterpret_cast<runmain_context*>(block->data());
  *context = runmain_context{};
  context->holders = 1;
  return context;
}

}  // namespace

const runmain_context* pass_gone() {
  for (;;) {
    const runmain_context* context = t_local.current;
    if (context == nullptr || __atomic_load_n(&context->gone, __ATOMIC_ACQUIRE) == 0) return context;
    Scope& scope = context->owner->scope;
    // Current here, but made so elsewhere: who did that holds it.
    if ((load_thread(scope) & ~kLeft) != thread_self()) return context;
    become_current(scope.before);
    drop_from_chain(context, scope);
  }
}

void leave_slow(runmain_span& span) {
  Scope& scope = span.scope;
  if (!scope.entered || span.context.gone != 0) return;
  std::uintptr_t thread = load_thread(scope);
  const bool here = thread == thread_self();
  if (here && t_local.current == &span.context) {
    scope.entered = false;
    if (scope.before == nullptr) {
      t_local.current = nullptr;
    } else {
      become_current(scope.before);
    }
    return;
  }
  if (here && take_out(span)) {
    scope.entered = false;
    return;
  }
  // Out of the order, or on another thread: who comes by passes it.
  __atomic_store_n(&span.context.gone, 1, __ATOMIC_RELEASE);
  if (here || thread == kNowhere) return;
  add_holder(&span.context);
  if (!__atomic_compare_exchange_n(&scope.thread, &thread, thread | kLeft, false, __ATOMIC_ACQ_REL,
                                   __ATOMIC_ACQUIRE))
    __atomic_fetch_sub(&span.context.holders, 1, __ATOMIC_RELAXED);  // it has just come by
}

void leave_all() {
  const runmain_context* context = t_local.current;
  t_local.current = nullptr;
  while (Scope* scope = scope_of(context)) {
    const runmain_context* before = scope->before;
    const std::uintptr_t thread = load_thread(*scope);
    if ((thread & ~kLeft) == thread_self()) drop_from_chain(context, *scope);
    context = before;
  }
}

bool is_static(const runmain_context* context) { return context == &g_no_span.context; }

Block* take_block_here(std::size_t data_size) {
  const std::uint32_t c = class_for(data_size);
  if (t_local.busy != 0 || c == kBlockClasses || !ensure_thread()) return nullptr;
  const Busy busy(t_local);
  return take_block(t_local.thread->pool, static_cast<BlockClass>(c));
}

void give_block_here(Block* block) {
  ThreadLocal& local = t_local;
  if (local.busy != 0 || local.thread == nullptr) return return_block(block);
  const Busy busy(local);
  give_block(&local.thread->pool, block);
}

}  // namespace runmain::child

using namespace runmain::child;  // NOLINT: these are its functions

runmain_shared* runmain_shared_reserve(size_t size) {
  Block* block = size <= RUNMAIN_SHARED_MAX ? take_block_here(sizeof(runmain_shared) + size) : nullptr;
  if (block == nullptr) return nullptr;
  auto* shared = reinterpret_cast<runmain_shared*>(block->data());
  *shared = {1, static_cast<std::uint32_t>(size)};
  return shared;
}

runmain_shared* runmain_shared_make(const void* bytes, size_t size) {
  runmain_shared* shared = runmain_shared_reserve(size);
  if (shared != nullptr && size > 0) std::memcpy(runmain_shared_bytes(shared), bytes, size);
  return shared;
}

runmain_shared* runmain_shared_retain(runmain_shared* shared) {
  hold(shared);
  return shared;
}

void runmain_shared_release(runmain_shared* shared) {
  if (shared != nullptr && __atomic_sub_fetch(&shared->holders, 1, __ATOMIC_ACQ_REL) == 0)
    give_block_here(Block::of(shared));
}

const runmain_context* runmain_current(void) { return current_context(); }

const runmain_context* runmain_swap_current(const runmain_context* context) {
  for (;;) {
    const runmain_context* before = current_context();
    Scope* scope = scope_of(before);
    const std::uintptr_t self = thread_self();
    std::uintptr_t thread = self;
    if (scope != nullptr && before != context &&
        !__atomic_compare_exchange_n(&scope->thread, &thread, kNowhere, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE) &&
        thread == (self | kLeft))
      continue;  // it was given back elsewhere in this moment
    if (scope != nullptr && before != context) hand_over_below(before, context);
    become_current(context);
    return before;
  }
}

const runmain_context* runmain_context_retain(const runmain_context* context) {
  if (context == nullptr || is_static(context)) return context;
  add_holder(context);
  keep_chain(context);
  return context;
}

void runmain_context_release(const runmain_context* context) {
  if (context == nullptr || is_static(context)) return;
  auto* mine = const_cast<runmain_context*>(context);
  if (__atomic_sub_fetch(&mine->holders, 1, __ATOMIC_ACQ_REL) == 0) free_context(mine);
}

runmain_context* runmain_context_make(const runmain_span_context* span, runmain_shared* trace_state,
                                      runmain_shared* baggage) {
  runmain_context* context = new_context();
  if (context == nullptr) return nullptr;
  if (span != nullptr) context->span = *span;
  context->trace_state = runmain_shared_retain(trace_state);
  context->baggage = runmain_shared_retain(baggage);
  return context;
}

runmain_context* runmain_context_with_baggage(const runmain_context* context, runmain_shared* baggage) {
  if (context == nullptr) return runmain_context_make(nullptr, nullptr, baggage);
  runmain_context* made = runmain_context_make(&context->span, context->trace_state, baggage);
  if (made == nullptr || context->owner == nullptr || context->owner == &g_no_span) return made;
  made->owner = context->owner;
  runmain_context_retain(&made->owner->context);
  return made;
}

runmain_span_context runmain_context_span_context(const runmain_context* context) {
  return context != nullptr ? context->span : runmain_span_context{};
}
runmain_shared* runmain_context_trace_state(const runmain_context* context) {
  return context != nullptr ? context->trace_state : nullptr;
}
runmain_shared* runmain_context_baggage(const runmain_context* context) {
  return context != nullptr ? context->baggage : nullptr;
}
runmain_span* runmain_context_span(const runmain_context* context) {
  return context != nullptr ? context->owner : nullptr;
}
