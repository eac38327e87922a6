// The current context where control does not stay on one thread's stack: C++20 coroutines, callbacks of
// libuv; callables are in current.hpp. Header only.
//
//   struct Task {                                       // a coroutine type whose coroutines have each their
//   own
//     struct Promise;
//     using promise_type = runmain::WithContext<Promise>;
//     struct Promise { … as ever; handles are std::coroutine_handle<promise_type> };
//   };
//   runmain::CoroutineContext here;                     // in a coroutine of a type that cannot be changed:
//   co_await here(socket.read());
//   uv_timer_start(&timer, runmain::uv_callback<on_timer>, 100, 0);   // see UvContext
//
// Invariants: a coroutine sees the same current context after each resumption that it had before, on whatever
// thread; who resumes, starts or destroys one finds its own context unchanged when that returns. A coroutine
// begins with what was current where it was made. One that is destroyed unfinished leaves its scopes in its
// own context, not in the destroyer's. Non-goals: awaiting without a wrapper (a plain co_await in a coroutine
// of a foreign type carries its context into whatever runs next); generators that change the context between
// two values. Threads: an object is used by who runs its coroutine, as the coroutine's frame is.
#pragma once

#include <concepts>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "current.hpp"

namespace runmain {

// ---- coroutines ----

namespace detail {

template <class A>
concept HasMemberCoAwait = requires(A&& a) {
  std::forward<A>(a).operator co_await();
};
template <class A>
concept HasFreeCoAwait = requires(A&& a) {
  operator co_await(std::forward<A>(a));
};

// What co_await makes of its operand ([expr.await]): an awaiter by value, or a reference to the operand.
template <class A>
decltype(auto) awaiter_of(A&& awaitable) {
  if constexpr (HasMemberCoAwait<A>) {
    return std::forward<A>(awaitable).operator co_await();
  } else if constexpr (HasFreeCoAwait<A>) {
    return operator co_await(std::forward<A>(awaitable));
  } else {
    return static_cast<A&&>(awaitable);
  }
}

// An operand of co_await with its awaiter. R is what `make` returns: an object is kept here, a reference is
// one to what lives as long as the co_await.
template <class R>
class Operand {
 public:
  template <class Make>
  explicit Operand(Make&& make) : object_(make()), awaiter_(awaiter_of(static_cast<R&&>(object_))) {}
  Operand(const Operand&) = delete;
  Operand& operator=(const Operand&) = delete;

  auto& awaiter() noexcept { return awaiter_; }

 private:
  R object_;
  decltype(awaiter_of(std::declval<R>())) awaiter_;
};

template <class R>
class ContextAwaiter;
template <class R>
class FirstAwaiter;
template <class R>
class LastAwaiter;

}  // namespace detail

// The context of one coroutine: swapped in while it runs, kept here while it does not.
class CoroutineContext {
 public:
  // For a coroutine that runs: a local variable at its beginning, before every scope.
  CoroutineContext() noexcept : CoroutineContext(Context::current()) {}
  // The same in another context than the current one.
  explicit CoroutineContext(Context context) noexcept : base_(std::move(context)), kept_(base_.get()) {
    enter();
  }

  CoroutineContext(const CoroutineContext&) = delete;
  CoroutineContext& operator=(const CoroutineContext&) = delete;
  ~CoroutineContext() {
    if (running_) leave();
  }

  // Awaits `awaitable` so that the context is kept meanwhile.
  template <class A>
  auto operator()(A&& awaitable) {
    return detail::ContextAwaiter<A&&>(*this, [&]() -> A&& { return std::forward<A>(awaitable); });
  }

  // What follows is for promises; WithContext does all of it.
  struct NotRunning {};
  explicit CoroutineContext(NotRunning) noexcept : base_(Context::current()), kept_(base_.get()) {}

  void enter() noexcept {
    before_ = runmain_swap_current(kept_);
    running_ = true;
  }
  // The reference is taken while the context is current: it then keeps those below it, too.
  void leave() noexcept {
    const runmain_context* mine = runmain_current();
    if (mine != kept_) inner_ = mine == base_.get() ? Context() : Context::retain(mine);
    kept_ = mine;
    running_ = false;
    runmain_swap_current(before_);
  }

 private:
  Context base_;                 // what it began with: its scopes come back to this
  const runmain_context* kept_;  // what was current when it last stopped running
  Context inner_;  // … by a reference, if it is not `base_`: its owner may be outside of the frame
  const runmain_context* before_ = nullptr;  // of who runs the coroutine, who is below it on the stack
  bool running_ = false;
};

namespace detail {

// Around an awaiter: the context goes out before it suspends, since another thread may resume the coroutine
// before await_suspend has returned, and comes in when it resumes.
template <class R>
class ContextAwaiter {
 public:
  template <class Make>
  ContextAwaiter(CoroutineContext& context, Make&& make) : context_(context), operand_(make) {}
  ContextAwaiter(const ContextAwaiter&) = delete;
  ContextAwaiter& operator=(const ContextAwaiter&) = delete;
  // Suspended still: await_suspend has thrown, and the coroutine goes on with that; or the coroutine is being
  // destroyed: then what is destroyed with it is so in its own context, and the CoroutineContext, which is
  // destroyed later, puts back what is current now.
  ~ContextAwaiter() {
    if (suspended_) context_.enter();
  }

  bool await_ready() { return operand_.awaiter().await_ready(); }

  template <class P>
  auto await_suspend(std::coroutine_handle<P> handle) {
    suspended_ = true;
    context_.leave();
    return operand_.awaiter().await_suspend(handle);  // after this nothing of ours may be there any more
  }

  decltype(auto) await_resume() {
    if (suspended_) context_.enter();
    suspended_ = false;
    return operand_.awaiter().await_resume();
  }

 private:
  CoroutineContext& context_;
  Operand<R> operand_;
  bool suspended_ = false;
};

// Around the awaiter of the initial suspension: the context comes in for the first time.
template <class R>
class FirstAwaiter {
 public:
  template <class Make>
  FirstAwaiter(CoroutineContext& context, Make&& make) : context_(context), operand_(make) {}

  bool await_ready() { return operand_.awaiter().await_ready(); }
  template <class P>
  auto await_suspend(std::coroutine_handle<P> handle) {
    return operand_.awaiter().await_suspend(handle);
  }
  void await_resume() {
    context_.enter();
    operand_.awaiter().await_resume();
  }

 private:
  CoroutineContext& context_;
  Operand<R> operand_;
};

// Around the awaiter of the final suspension: the context goes out, and the frame may be gone after that.
template <class R>
class LastAwaiter {
 public:
  template <class Make>
  LastAwaiter(CoroutineContext& context, Make&& make) noexcept : context_(context), operand_(make) {}

  bool await_ready() noexcept {
    context_.leave();
    return operand_.awaiter().await_ready();
  }
  template <class P>
  auto await_suspend(std::coroutine_handle<P> handle) noexcept {
    return operand_.awaiter().await_suspend(handle);
  }
  void await_resume() noexcept { operand_.awaiter().await_resume(); }

 private:
  CoroutineContext& context_;
  Operand<R> operand_;
};

// Whether P has a member of this name, be it deleted: then it decides what may be awaited. The name is
// ambiguous if so.
struct NamesAwaitTransform {
  void await_transform();
};
template <class P>
struct WithName : P, NamesAwaitTransform {};
template <class P>
concept HasAwaitTransform = !requires {
  &WithName<P>::await_transform;
};

}  // namespace detail

// A promise type whose coroutines have each their own current context; `Promise` is the promise type as it
// would be without. A coroutine is one of WithContext<Promise>: in `Promise`,
// std::coroutine_handle<WithContext<Promise>>::from_promise(static_cast<WithContext<Promise>&>(*this)).
template <class Promise>
class WithContext : public Promise {
 public:
  WithContext() = default;
  // A promise may take its coroutine's parameters.
  template <class... A>
  requires(sizeof...(A) > 0 && std::constructible_from<Promise, A&...>) explicit WithContext(A&... parameters)
      : Promise(parameters...) {}

  auto initial_suspend() {
    using R = decltype(Promise::initial_suspend());
    return detail::FirstAwaiter<R>(context_, [this]() -> R { return Promise::initial_suspend(); });
  }
  auto final_suspend() noexcept {
    using R = decltype(Promise::final_suspend());
    return detail::LastAwaiter<R>(context_, [this]() noexcept -> R { return Promise::final_suspend(); });
  }

  template <class A>
  auto await_transform(A&& awaitable) {
    if constexpr (detail::HasAwaitTransform<Promise>) {
      using R = decltype(Promise::await_transform(std::forward<A>(awaitable)));
      return detail::ContextAwaiter<R>(
          context_, [&]() -> R { return Promise::await_transform(std::forward<A>(awaitable)); });
    } else {
      return context_(std::forward<A>(awaitable));
    }
  }

  template <class T>
  requires requires(Promise& promise, T&& yielded) { promise.yield_value(std::forward<T>(yielded)); }
  auto yield_value(T&& yielded) {
    using R = decltype(Promise::yield_value(std::forward<T>(yielded)));
    return detail::ContextAwaiter<R>(context_,
                                     [&]() -> R { return Promise::yield_value(std::forward<T>(yielded)); });
  }

  // One that throws ends the coroutine without a final suspension.
  void unhandled_exception() {
    try {
      Promise::unhandled_exception();
    } catch (...) {
      context_.leave();
      throw;
    }
  }

 private:
  CoroutineContext context_{CoroutineContext::NotRunning{}};
};

// ---- libuv ----

// What a handle's or a request's `data` points to when its callbacks are uv_callback: a base of the user's
// own struct. It keeps what is current where it is made.
//
//   struct Session : runmain::UvContext { … };
//   runmain::set_uv_data(timer, session);               // timer.data = session
//   void on_timer(uv_timer_t* timer) { Session* s = runmain::uv_data<Session>(timer); … }
class UvContext {
 public:
  UvContext() noexcept : context_(Context::current()) {}
  const Context& context() const noexcept { return context_; }
  // For an object that outlives one piece of work: what is current now counts from now on.
  void take_current() noexcept { context_ = Context::current(); }

 private:
  Context context_;
};

template <class Handle, std::derived_from<UvContext> T>
void set_uv_data(Handle& handle, T* object) noexcept {
  handle.data = static_cast<UvContext*>(object);
}

template <std::derived_from<UvContext> T, class Handle>
T* uv_data(const Handle* handle) noexcept {
  return static_cast<T*>(static_cast<UvContext*>(handle->data));
}

namespace detail {

template <auto Callback, class Signature>
struct UvCallback;

// The context is held by a reference of its own: the callback may free the handle and its data.
template <auto Callback, class Handle, class... A, bool kNoexcept>
struct UvCallback<Callback, void (*)(Handle*, A...) noexcept(kNoexcept)> {
  static void call(Handle* handle, A... arguments) {
    const auto* data = static_cast<const UvContext*>(handle->data);
    if (data == nullptr) {
      Callback(handle, arguments...);
      return;
    }
    const Activation scope(data->context());
    Callback(handle, arguments...);
  }
};

}  // namespace detail

// `Callback`, a function whose first parameter is the handle or request, as a function of the same type that
// runs it in the context of the handle's data. Requires that the data was set by set_uv_data, or is NULL.
template <auto Callback>
inline constexpr auto uv_callback = &detail::UvCallback<Callback, decltype(+Callback)>::call;

}  // namespace runmain
