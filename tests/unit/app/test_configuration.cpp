// What is settled before the core sees the configuration.
#include "app/configuration.hpp"

#include "support/catch.hpp"

using namespace runmain;

TEST_CASE("workers of \"auto\" are the CPUs that may be used, and no more canaries than leave an old one") {
  core::Desired desired;
  core::ServiceSpec fixed;
  fixed.workers = 3;
  fixed.roll.canary = 2;
  core::ServiceSpec by_cpus;
  by_cpus.workers_auto = true;
  by_cpus.roll.canary = 2;
  desired.services = {fixed, by_cpus};
  app::resolve_workers(desired, 8);
  CHECK(desired.services[0] == fixed);
  CHECK(desired.services[1].workers == 8);
  CHECK(desired.services[1].roll.canary == 2);
  app::resolve_workers(desired, 2);
  CHECK(desired.services[1].workers == 2);
  CHECK(desired.services[1].roll.canary == 1);
  app::resolve_workers(desired, 0);
  CHECK(desired.services[1].workers == 1);
  CHECK(desired.services[1].roll.canary == 0);
  app::resolve_workers(desired, 100000);
  CHECK(desired.services[1].workers == 1024);
}
