// Small worlds, completely (explorer.hpp).
#include "explorer.hpp"

using namespace runmain;
using namespace runmain::core;

TEST_CASE("one watched worker with overlap: edits, a crash and a stop in every order") {
  Budget b;
  b.edits = 2;
  b.crashes = 1;
  b.signals = 1;
  explore("1 worker, overlap", {quick(watched("web"))}, b);
  b.edits = 3;
  b.signals = b.timeouts = 0;
  explore("1 worker, overlap, 3 edits", {quick(watched("web"))}, b);
}

TEST_CASE("one watched worker without overlap: edits, a crash and a forced stop in every order") {
  Budget b;
  b.edits = 2;
  b.crashes = 2;
  b.signals = 2;
  explore("1 worker, no overlap", {alone(quick(watched("web")))}, b);
}

TEST_CASE("the head dies at any step: the next one goes on as if nothing had been") {
  Budget b;
  b.edits = 1;
  b.crashes = 1;
  b.commands = 1;
  b.timeouts = 0;
  b.deaths = 2;
  explore("1 worker, dying heads", {quick(watched("web"))}, b);
}

TEST_CASE("one worker and a user: commands in every order") {
  Budget b;
  b.commands = 3;
  b.survivors = 1;
  b.crashes = 1;
  b.timeouts = 0;
  explore("1 worker, 3 commands", {quick(service("web"))}, b);
  explore("1 worker, no overlap, 3 commands", {alone(quick(service("web")))}, b);
  b.commands = 2;
  b.edits = 1;
  explore("1 worker, 2 commands and an edit", {quick(watched("web"))}, b);
}

TEST_CASE("one worker whose spawns fail: failures and edits in every order") {
  Budget b;
  b.transient = 2;
  b.permanent = 1;
  b.edits = 2;
  b.timeouts = 0;
  explore("1 worker, failing spawns", {quick(watched("web"))}, b);
  b.transient = 1;
  b.edits = 1;
  b.commands = 1;
  explore("1 worker, build, failing spawns, a command", {quick(built("web"))}, b);
}

TEST_CASE("a build step: edits, failures and holds in every order") {
  Budget b;
  b.edits = 2;
  b.build_fails = 1;
  b.crashes = 1;
  b.holds = 1;
  b.timeouts = 0;
  explore("1 worker, build, overlap", {quick(built("web"))}, b);
  explore("1 worker, build, no overlap", {alone(quick(built("web")))}, b);
  b.edits = 1;
  b.commands = 1;
  b.signals = 1;
  explore("1 worker, build, a command and a stop", {quick(built("web"))}, b);
}

TEST_CASE("a worker that waits at its terminal: edits, a crash, holds and dying heads in every order") {
  Budget b;
  b.terminals = 2;
  b.edits = 2;
  b.crashes = 1;
  explore("1 worker, terminal, overlap", {quick(watched("web"))}, b);
  explore("1 worker, terminal, no overlap", {alone(quick(watched("web")))}, b);
  b.terminals = b.edits = 1;
  b.holds = 1;
  b.commands = 1;
  b.deaths = 1;
  b.crashes = b.timeouts = 0;
  explore("1 worker, terminal, build, holds, a command, dying heads", {quick(built("web"))}, b);
}

TEST_CASE("two workers with overlap: two edits, or an edit and a crash, in every order") {
  Budget b;
  b.timeouts = 0;
  b.edits = 2;
  b.crashes = 1;
  explore("2 workers, 2 edits and a crash", {quick(watched("web", 2))}, b);
}

TEST_CASE("two services, one needs the other: commands and faults in every order") {
  ServiceSpec web = quick(service("web"));
  web.depends_on = {"db"};
  Budget b;
  b.timeouts = 0;
  b.commands = 2;
  b.signals = 2;
  explore("2 services, commands", {quick(service("db")), web}, b);
  b.commands = 1;
  b.signals = 1;
  b.crashes = 1;
  b.permanent = 1;
  b.survivors = 1;
  explore("2 services, faults", {quick(service("db")), web}, b);
}

TEST_CASE("a job that ends by itself, and who waits for it: every order") {
  ServiceSpec job = quick(watched("job"));
  job.restart = RestartPolicy::on_failure;
  ServiceSpec web = quick(service("web"));
  web.depends_on = {"job"};
  Budget b;
  b.timeouts = 0;
  b.edits = 1;
  b.crashes = 1;
  explore("a job and who waits for it", {job, web}, b);
  b.crashes = 0;
  b.commands = 1;
  explore("a job, who waits for it, a command", {job, web}, b);
}
