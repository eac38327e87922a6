#include "base/wall_time.hpp"

#include "support/catch.hpp"

using namespace runmain;

TEST_CASE("times are RFC 3339 in UTC, also before 1970") {
  CHECK(rfc3339(0) == "1970-01-01T00:00:00.000000000Z");
  CHECK(rfc3339(1'700'000'000'123'456'789) == "2023-11-14T22:13:20.123456789Z");
  CHECK(rfc3339(-1) == "1969-12-31T23:59:59.999999999Z");
}

TEST_CASE("the wall clock says a time after this was written") {
  CHECK(rfc3339(wall_now_ns()) > "2025-11-21T00:00:00");
}
