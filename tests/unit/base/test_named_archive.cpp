#include "base/named_archive.hpp"

#include <optional>
#include <variant>

#include "support/catch.hpp"

using namespace runmain;

namespace {

enum class Colour : std::uint8_t { red, green };

struct Inner {
  std::string name;
  std::int64_t number = 0;
  template <class A>
  void fields(A& a) {
    a("name", name);
    a("number", number);
  }
  friend bool operator==(const Inner&, const Inner&) = default;
};
struct Other {
  bool flag = false;
  template <class A>
  void fields(A& a) {
    a("flag", flag);
  }
  friend bool operator==(const Other&, const Other&) = default;
};

struct Old {
  std::uint32_t count = 7;
  std::vector<Inner> inner;
  Colour colour = Colour::red;
  std::variant<Inner, Other> which;
  std::array<std::uint32_t, 2> pair{1, 2};
  template <class A>
  void fields(A& a) {
    a("count", count);
    a("inner", inner);
    a("colour", colour);
    a("which", which);
    a("pair", pair);
  }
  friend bool operator==(const Old&, const Old&) = default;
};

struct InnerNext {
  std::int64_t number = 0;
  std::vector<std::string> more{"as before"};
  std::string name;
  template <class A>
  void fields(A& a) {
    a("number", number);
    a("more", more);
    a("name", name);
  }
};
struct Third {
  template <class A>
  void fields(A&) {}
};
struct Next {
  std::optional<Inner> added;
  std::uint64_t count = 0;
  std::vector<InnerNext> inner;
  ServiceId id{3};
  std::variant<Inner, Other, Third> which;
  std::array<std::uint32_t, 3> pair{9, 9, 9};
  template <class A>
  void fields(A& a) {
    a("added", added);
    a("count", count);
    a("inner", inner);
    a("id", id);
    a("which", which);
    a("pair", pair);
  }
};

Old sample() {
  Old old;
  old.count = 70000;
  old.inner = {{"one", -1}, {std::string(300, 'x'), 1LL << 40}};
  old.colour = Colour::green;
  old.which = Other{true};
  return old;
}

}  // namespace

TEST_CASE("what is written with names is read again") {
  Old read;
  REQUIRE(from_named(to_named(sample()), read));
  CHECK(read == sample());
}

TEST_CASE("the next version reads what the last one wrote, with defaults for what is new") {
  Next next;
  REQUIRE(from_named(to_named(sample()), next));
  CHECK(next.count == 70000);
  REQUIRE(next.inner.size() == 2);
  CHECK(next.inner[1].name == std::string(300, 'x'));
  CHECK(next.inner[1].number == 1LL << 40);
  CHECK(next.inner[0].more == std::vector<std::string>{"as before"});
  CHECK_FALSE(next.added);
  CHECK(next.id == ServiceId{3});
  CHECK(std::get<Other>(next.which).flag);
  CHECK(next.pair == std::array<std::uint32_t, 3>{1, 2, 9});
}

TEST_CASE("the last version passes over what it does not know") {
  Next next;
  next.added = Inner{"new", 1};
  next.count = 5;
  next.inner.push_back({4, {"a", "b"}, "four"});
  next.which = Inner{"known", 2};
  next.pair = {4, 5, 6};
  Old old;
  REQUIRE(from_named(to_named(next), old));
  CHECK(old.count == 5);
  CHECK(old.inner == std::vector<Inner>{{"four", 4}});
  CHECK(old.colour == Colour::red);
  CHECK(std::get<Inner>(old.which).name == "known");
  CHECK(old.pair == std::array<std::uint32_t, 2>{4, 5});
  next.which = Third{};
  CHECK_FALSE(from_named(to_named(next), old));  // an alternative cannot be passed over
}

TEST_CASE("bytes that are cut or changed are no value, or another one, and nothing else happens") {
  const std::string bytes = to_named(sample());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    Old old;
    REQUIRE_FALSE(from_named(std::string_view(bytes).substr(0, size), old));
  }
  Old old;
  CHECK_FALSE(from_named(bytes + '\0', old));
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const unsigned bit : {1U, 16U, 128U}) {
      std::string bad = bytes;
      bad[at] = static_cast<char>(static_cast<unsigned char>(bad[at]) ^ bit);
      (void)from_named(bad, old);
    }
  }
}

TEST_CASE("the versions beside ours are read") {
  const std::uint32_t ours = state_version();
  CHECK(reads_state_version(ours - 1));
  CHECK(reads_state_version(ours));
  CHECK(reads_state_version(ours + 1));
  CHECK_FALSE(reads_state_version(ours + 2));
  CHECK_FALSE(reads_state_version(0xffffffffU));
}
