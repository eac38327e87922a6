#include "keeper/happenings.hpp"

#include <unistd.h>

#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::keeper;

TEST_CASE("a happening is told once to a head, and again to the next one until it is acknowledged") {
  Happenings queue;
  CHECK(queue.push(GotSignal{1}) == 1);
  CHECK(queue.push(GotSignal{2}) == 2);
  REQUIRE(queue.next() != nullptr);
  CHECK(queue.next()->number == 1);
  queue.sent();
  queue.sent();
  CHECK(queue.next() == nullptr);
  queue.tell_again();
  REQUIRE(queue.next() != nullptr);
  CHECK(queue.next()->number == 1);
}

TEST_CASE("acknowledging is cumulative and tells what is gone; numbers go on") {
  Happenings queue;
  for (int i = 1; i <= 4; ++i) queue.push(GotSignal{i});
  queue.sent();
  std::vector<int> gone;
  const auto remember = [&](const What& what) { gone.push_back(std::get<GotSignal>(what).signal); };
  queue.acknowledge(3, remember);
  CHECK(gone == std::vector<int>{1, 2, 3});
  REQUIRE(queue.next() != nullptr);
  CHECK(queue.next()->number == 4);
  queue.acknowledge(3, remember);
  CHECK(gone.size() == 3);
  CHECK(queue.push(GotSignal{5}) == 5);
}

TEST_CASE("fds that came with a message are held until it is acknowledged, then closed") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  Happenings queue;
  std::vector<os::UniqueFd> held;
  held.emplace_back(ends[1]);
  queue.push(Notified{}, std::move(held));
  CHECK(write(ends[1], "x", 1) == 1);
  queue.acknowledge(1, [](const What&) {});
  char byte = 0;
  CHECK(read(ends[0], &byte, 1) == 1);
  CHECK(read(ends[0], &byte, 1) == 0);  // end of file: the last write end is closed
  close(ends[0]);
}
