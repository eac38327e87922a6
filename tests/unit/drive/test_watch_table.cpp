// The table of files and its bytes; the hash; the paths.
#include <random>

#include "base/archive.hpp"
#include "drive/watch_table.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

namespace {

std::uint64_t hash_of(std::string_view text) {
  ContentHash hash;
  hash.add(text);
  return hash.value();
}

FileTable sample() {
  FileTable table;
  FileState state;
  state.size = 3;
  state.hash = 0xdeadbeefdeadbeefULL;
  state.hashed = true;
  state.mtime_ns = -5;
  state.executable = 7;
  table.put("/a", "x", state);
  state.kind = FileKind::link;
  table.put("/a", "new\nline\xff", state);
  table.put("/a/b", "y", state);
  table.put("/ab", "z", state);
  table.set_services({{ServiceId{4}, {"/a"}, {"*.md"}}});
  return table;
}

}  // namespace

TEST_CASE("a table is the same after save and restore") {
  FileTable table = sample();
  CHECK(table.dirty());
  const std::string bytes = table.save();
  CHECK_FALSE(table.dirty());
  FileTable other;
  REQUIRE(other.restore(bytes));
  CHECK(other.size() == 4);
  CHECK(other.services() == table.services());
  CHECK_FALSE(other.dirty());
  const FileState* state = other.find("/a", "new\nline\xff");
  REQUIRE(state != nullptr);
  CHECK(state->kind == FileKind::link);
  CHECK(state->hash == 0xdeadbeefdeadbeefULL);
  CHECK(state->mtime_ns == -5);
  CHECK(other.save() == bytes);
}

TEST_CASE("bytes that are torn, longer, of another version or random are no table") {
  const std::string bytes = sample().save();
  FileTable table;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    REQUIRE_FALSE(table.restore(bytes.substr(0, size)));
    REQUIRE(table.size() == 0);
  }
  CHECK_FALSE(table.restore(bytes + "x"));
  std::string other = bytes;
  other[0] = 99;
  CHECK_FALSE(table.restore(other));
  const auto seed = Catch::rngSeed();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (int i = 0; i < 2000; ++i) {
    std::string torn = bytes;
    for (int n = 0; n < 3; ++n) torn[random() % torn.size()] = static_cast<char>(random());
    if (table.restore(torn)) CHECK(table.size() <= 4);  // a changed figure is a table too
  }
  CHECK(table.restore(bytes));
}

TEST_CASE("a full table refuses new files, keeps taking known ones and says so") {
  FileTable table(2);
  CHECK(table.put("/", "a", {}));
  CHECK(table.put("/", "b", {}));
  CHECK_FALSE(table.truncated());
  CHECK_FALSE(table.put("/", "c", {}));
  CHECK(table.truncated());
  FileState state;
  state.size = 9;
  CHECK(table.put("/", "b", state));
  CHECK(table.find("/", "b")->size == 9);
  CHECK(table.size() == 2);
  table.erase("/", "a");
  CHECK(table.put("/", "c", {}));
}

TEST_CASE("folders below a path are those at a slash, not those with a longer name") {
  FileTable table = sample();
  CHECK(table.folders_below("/a") == std::vector<std::string>{"/a", "/a/b"});
  CHECK(table.folders_below("/") == std::vector<std::string>{"/a", "/a/b", "/ab"});
  CHECK(table.folders_below("/a/b/c").empty());
  table.erase("/a/b", "y");
  CHECK(table.folders_below("/a/b").empty());
  CHECK(is_at_or_below("/a/b", "/a"));
  CHECK(is_at_or_below("/a", "/a"));
  CHECK(is_at_or_below("/a", "/"));
  CHECK_FALSE(is_at_or_below("/ab", "/a"));
  CHECK(join_path("/", "a") == "/a");
  CHECK(join_path("/a", "b") == "/a/b");
  CHECK(split_path("/a/b") == std::pair<std::string, std::string>{"/a", "b"});
  CHECK(split_path("/a") == std::pair<std::string, std::string>{"/", "a"});
}

TEST_CASE("a table that is held is not dirty until it is let go") {
  FileTable table = sample();
  table.hold(true);
  CHECK_FALSE(table.dirty());
  table.hold(false);
  CHECK(table.dirty());
}

TEST_CASE("the hash tells every single changed byte, swapped words and added zeros") {
  const auto seed = Catch::rngSeed();
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  for (std::size_t size : {0U, 1U, 7U, 8U, 9U, 64U, 1000U}) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(random());
    const std::uint64_t hash = hash_of(text);
    CHECK(hash == hash_of(text));
    CHECK(hash != hash_of(text + '\0'));
    for (std::size_t i = 0; i < size; ++i) {
      std::string other = text;
      other[i] = static_cast<char>(other[i] ^ (1 << (random() % 8)));
      CHECK(hash_of(other) != hash);
    }
  }
  CHECK(hash_of("12345678abcdefgh") != hash_of("abcdefgh12345678"));
  ContentHash pieces;
  pieces.add("12345678");
  pieces.add("abcdefghi");
  CHECK(pieces.value() == hash_of("12345678abcdefghi"));
  CHECK(hash_of("runmain") == hash_of(std::string("runmain")));
}
