// What is current in coroutines: each sees its own, whoever resumes, starts or destroys it, on whatever
// thread.
#include <optional>
#include <string>
#include <thread>

#include "coroutine_task.hpp"
#include "support/catch.hpp"

using made::Context;
using made::current;
using made::Event;
using made::Note;
using made::Task;
using runmain::Activation;

namespace {

Task scoped(const Context& own, Event& event, std::string& log) {
  log += current();
  const Activation scope(own.ref());
  log += current();
  co_await event;
  log += current();
  co_await event;
  log += current();
}

}  // namespace

TEST_CASE("two interleaved tasks see each its own context") {
  Context base('b');
  Context one('1');
  Context two('2');
  {
    const Activation scope(base.ref());
    Event first;
    Event second;
    std::string log_one;
    std::string log_two;
    Task task_one = scoped(one, first, log_one);
    Task task_two = scoped(two, second, log_two);
    for (Task* task : {&task_one, &task_two}) {
      task->start();
      CHECK(current() == 'b');
    }
    for (Event* event : {&second, &first, &first, &second}) {
      event->fire();
      CHECK(current() == 'b');
    }
    CHECK(task_one.done());
    CHECK(task_two.done());
    CHECK(log_one == "b111");
    CHECK(log_two == "b222");
  }
  for (const Context* context : {&base, &one, &two}) CHECK(context->holders() == 1);
  CHECK(current() == '-');
}

TEST_CASE("a task begins with what was current where it was made, and children nest") {
  Context parent('p');
  Context child('c');
  Event event;
  std::string log;
  const auto inner = [&]() -> Task {
    log += current();
    const Activation scope(child.ref());
    co_await event;
    log += current();
  };
  const auto outer = [&]() -> Task {
    const Activation scope(parent.ref());
    co_await inner();
    log += current();
    Task again = inner();
    co_await again;
    log += current();
  };
  {
    Task task = outer();
    task.start();
    CHECK(current() == '-');
    event.fire();
    event.fire();
    CHECK(task.done());
  }
  CHECK(log == "pcppcp");
  CHECK(current() == '-');
  CHECK(parent.holders() == 1);
  CHECK(child.holders() == 1);
}

TEST_CASE("a task that goes on on another thread takes its context along, and leaves that thread's") {
  Context base('b');
  Context own('1');
  Context foreign('f');
  Event event;
  std::string log;
  {
    Task task = [&] {
      const Activation scope(base.ref());
      return scoped(own, event, log);
    }();
    task.start();
    std::string seen;
    std::thread([&] {
      const Activation scope(foreign.ref());
      event.fire();
      seen += current();
      event.fire();
      seen += current();
    }).join();
    CHECK(seen == "ff");
    CHECK(task.done());
  }
  CHECK(log == "b111");
  CHECK(current() == '-');
  for (const Context* context : {&base, &own, &foreign}) CHECK(context->holders() == 1);
}

TEST_CASE("a task that is destroyed in the middle leaves its scopes in its own context") {
  Context base('b');
  Context own('1');
  Context destroyer('d');
  Event event;
  std::string log;
  const auto body = [&]() -> Task {
    const Note outside{log};
    const Activation scope(own.ref());
    const Note inside{log};
    co_await event;
    log += "never";
  };
  for (const bool elsewhere : {false, true}) {
    log.clear();
    std::optional<Task> task = [&] {
      const Activation scope(base.ref());
      return body();
    }();
    task->start();
    char after = '?';
    const auto destroy = [&] {
      const Activation scope(destroyer.ref());
      task.reset();
      after = current();
    };
    if (elsewhere) {
      std::thread(destroy).join();
    } else {
      destroy();
    }
    CHECK(after == 'd');
    CHECK(log == "1b");
    CHECK(current() == '-');
    for (const Context* context : {&base, &own, &destroyer}) CHECK(context->holders() == 1);
  }
}

TEST_CASE("a tree of tasks that is destroyed in the middle unwinds each in its own context") {
  Context outer_context('o');
  Context inner_context('i');
  Event event;
  std::string log;
  const auto inner = [&]() -> Task {
    const Activation scope(inner_context.ref());
    const Note note{log};
    co_await event;
  };
  const auto outer = [&]() -> Task {
    const Activation scope(outer_context.ref());
    const Note note{log};
    co_await inner();
  };
  {
    Task task = outer();
    task.start();
  }
  CHECK(log == "io");
  CHECK(current() == '-');
  CHECK(outer_context.holders() == 1);
  CHECK(inner_context.holders() == 1);
}

TEST_CASE("a task that never began, and one that is done, change nothing when they are destroyed") {
  Context base('b');
  Event event;
  std::string log;
  { const Task task = scoped(base, event, log); }
  CHECK(current() == '-');
  CHECK(base.holders() == 1);
  CHECK(log.empty());
}

TEST_CASE("a context whose owner is gone is kept while the task that has it current is suspended") {
  Context own('1');
  std::optional<Activation> elsewhere;
  Event event;
  std::string log;
  const auto body = [&]() -> Task {
    elsewhere.emplace(own.ref());
    co_await event;
    log += current();
    elsewhere.reset();
  };
  Task task = body();
  task.start();
  CHECK(own.holders() == 3);  // the test's, the scope's, the suspended task's
  event.fire();
  CHECK(log == "1");
  CHECK(current() == '-');
}
