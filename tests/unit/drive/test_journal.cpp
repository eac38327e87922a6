#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/archive.hpp"
#include "drive/journal.hpp"
#include "drive/journal_names.hpp"
#include "drive/json_archive.hpp"
#include "os/linux/fd.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;
using nlohmann::json;

namespace {

// Fills any struct that has fields() with random values, extremes among them.
class RandomArchive {
 public:
  static constexpr bool kReading = true;
  explicit RandomArchive(std::mt19937_64& random) : random_(random) {}

  template <class T>
  void operator()(const char*, T& v) {
    fill(v);
  }
  std::size_t below(std::size_t n) { return random_() % n; }

  template <class T>
  void fill(T& v) {
    namespace d = archive_detail;
    if constexpr (std::is_same_v<T, std::string>) {
      fill_text(v);
    } else if constexpr (d::IsVector<T>::value) {
      v.resize(below(4));
      for (auto& e : v) fill(e);
    } else if constexpr (d::IsOptional<T>::value) {
      v.reset();
      if (below(2) == 0) fill(v.emplace());
    } else if constexpr (d::IsPair<T>::value) {
      fill(v.first);
      fill(v.second);
    } else if constexpr (d::IsDuration<T>::value) {
      std::int64_t ns = 0;
      fill(ns);
      v = T(ns);
    } else if constexpr (std::is_enum_v<T>) {
      v = static_cast<T>(below(kEnumNames<T>.size()));
    } else if constexpr (std::is_same_v<T, bool>) {
      v = below(2) == 0;
    } else if constexpr (std::is_integral_v<T>) {
      const T extremes[] = {0,
                            1,
                            std::numeric_limits<T>::max(),
                            std::numeric_limits<T>::min(),
                            static_cast<T>(random_()),
                            static_cast<T>(below(1000))};
      v = extremes[below(std::size(extremes))];
    } else {
      v.fields(*this);
    }
  }

 private:
  void fill_text(std::string& v) {
    static const std::string kPieces[] = {"plain",
                                          "\n",
                                          "\"",
                                          "\\",
                                          std::string(1, '\0'),
                                          "\xc3\xa9",
                                          "\xf0\x9f\x98\x80",
                                          "\xff",
                                          "\xed\xa0\x80",
                                          "{\"hex\":\"00\"}",
                                          "\x7f",
                                          "\xc0\xaf",
                                          "/a/b"};
    v.clear();
    for (std::size_t n = below(5); n > 0; --n) v += kPieces[below(std::size(kPieces))];
  }

  std::mt19937_64& random_;
};

// A journal in a file without a name that others can open; /proc gives it a path.
class File {
 public:
  File() : fd_(std::move(*os::make_memfd("journal", 0))) {}
  explicit File(const std::string& text) : File() { REQUIRE(os::write_all(fd_.get(), text)); }
  int fd() const { return fd_.get(); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_.get()); }
  std::string text() const { return *os::read_file(path(), 64U << 20U); }

 private:
  os::UniqueFd fd_;
};

const std::string kHeader = R"({"v":1,"type":"journal.header","version":"0.1.0","seed":7})"
                            "\n";

std::string entry_line(std::uint64_t seq, const std::string& type = "timer.fired",
                       const std::string& data = "{}") {
  return R"({"v":1,"seq":)" + std::to_string(seq) +
         R"(,"time":"2025-01-02T03:04:05.000000006Z","mono_ns":5,"type":")" + type +
         R"(","cause":0,"data":)" + data + "}\n";
}

core::Event example_exit() { return core::Exited{ChildKey{ServiceId{3}, 1, 2, 0}, 123, 9, true}; }

template <std::size_t I = 0>
void for_each_alternative(const std::function<void(core::Event)>& use) {
  if constexpr (I < std::variant_size_v<core::Event>) {
    use(core::Event(std::in_place_index<I>));
    for_each_alternative<I + 1>(use);
  }
}

}  // namespace

TEST_CASE("an entry has the form of the interface") {
  File file;
  JournalWriter writer(file.fd());
  REQUIRE(writer.begin(7));
  REQUIRE(writer.append(1, Time(Duration(42)), 1'735'787'045'000'000'006, example_exit(), 0x00f1aaULL));
  CHECK(file.text() ==
        "{\"v\":1,\"type\":\"journal.header\",\"version\":\"" RUNMAIN_VERSION
        "\",\"seed\":7}\n"
        "{\"v\":1,\"seq\":1,\"time\":\"2025-01-02T03:04:05.000000006Z\",\"mono_ns\":42,"
        "\"type\":\"child.exited\","
        "\"service\":3,\"slot\":1,\"generation\":2,\"pid\":123,\"cause\":0,\"data\":{\"key\":{"
        "\"service\":3,\"slot\":1,"
        "\"generation\":2,\"attempt\":0},\"pid\":123,\"status\":9,\"known\":true,\"oom\":false},\"digest\":"
        "\"000000000000f1aa\"}\n");
}

TEST_CASE("an entry names the service where the name is known") {
  File file;
  JournalWriter writer(file.fd(),
                       [](ServiceId id) { return id.value == 3 ? std::string("web") : std::string(); });
  REQUIRE(writer.append(1, Time(), 0, example_exit(), {}));
  REQUIRE(writer.append(2, Time(), 0, core::Held{ServiceId{4}, true}, {}));
  REQUIRE(writer.append(3, Time(), 0, core::Tick{}, {}));
  const std::string text = file.text();
  CHECK(text.find("\"service\":\"web\",\"slot\":1") != std::string::npos);
  CHECK(text.find("\"type\":\"files.held\",\"service\":4,\"cause\":0") != std::string::npos);
  CHECK(text.find("\"type\":\"timer.fired\",\"cause\":0,\"data\":{}}") != std::string::npos);
}

TEST_CASE("every type of event survives the journal, whatever is in it") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  RandomArchive fill(random);
  File file;
  JournalWriter writer(file.fd());
  REQUIRE(writer.begin(seed));
  std::vector<core::Event> events;
  for (int round = 0; round < 40; ++round) {
    for_each_alternative([&](core::Event event) {
      std::visit([&](auto& e) { e.fields(fill); }, event);
      const std::uint64_t seq = events.size() + 1;
      const auto digest = seq % 2 == 0 ? std::optional<std::uint64_t>(random()) : std::nullopt;
      REQUIRE(writer.append(seq, Time(Duration(static_cast<std::int64_t>(seq))),
                            static_cast<std::int64_t>(seq), event, digest));
      events.push_back(std::move(event));
    });
  }
  auto reader = JournalReader::open(file.path());
  REQUIRE(reader);
  CHECK(reader->header().seed == seed);
  CHECK(reader->header().version == RUNMAIN_VERSION);
  for (std::size_t i = 0; i < events.size(); ++i) {
    auto entry = reader->next();
    if (!entry) FAIL(entry.error().text());
    REQUIRE(entry->has_value());
    REQUIRE((*entry)->seq == i + 1);
    REQUIRE((*entry)->mono.time_since_epoch().count() == static_cast<std::int64_t>(i + 1));
    REQUIRE((*entry)->wall_ns == static_cast<std::int64_t>(i + 1));
    REQUIRE((*entry)->digest.has_value() == (i % 2 == 1));
    CAPTURE(core::type_name(events[i]));
    REQUIRE(to_binary((*entry)->event) == to_binary(events[i]));
  }
  CHECK_FALSE(reader->next()->has_value());
  CHECK_FALSE(reader->torn());
}

TEST_CASE("the wall clock survives the journal to the nanosecond, before 1970 it is 1970") {
  const std::int64_t times[] = {0, 1, 999'999'999, 951'782'400'000'000'000 /* 2000-02-29 */,
                                4'102'444'800'123'456'789};
  File file;
  JournalWriter writer(file.fd());
  REQUIRE(writer.begin(1));
  std::uint64_t seq = 0;
  for (const std::int64_t t : times) REQUIRE(writer.append(++seq, Time(), t, core::Tick{}, {}));
  REQUIRE(writer.append(++seq, Time(), -5, core::Tick{}, {}));
  auto reader = JournalReader::open(file.path());
  REQUIRE(reader);
  for (const std::int64_t t : times) CHECK((*reader->next())->wall_ns == t);
  CHECK((*reader->next())->wall_ns == 0);
}

TEST_CASE("a torn last line does not count and is told") {
  const std::string whole = kHeader + entry_line(1);
  const std::string last = entry_line(2);
  for (std::size_t kept = 1; kept < last.size(); ++kept) {
    const File file(whole + last.substr(0, kept));
    auto reader = JournalReader::open(file.path());
    REQUIRE(reader);
    CHECK((*reader->next())->seq == 1);
    CHECK_FALSE(reader->torn());
    REQUIRE_FALSE(reader->next()->has_value());
    REQUIRE(reader->torn());
  }
}

TEST_CASE("a takeover cuts the torn line off and goes on after the last whole one") {
  const std::string whole = kHeader + entry_line(41) + entry_line(42);
  const std::string torn = entry_line(43);
  for (std::size_t kept = 0; kept < torn.size(); ++kept) {
    const File file(whole + torn.substr(0, kept));
    const auto seq = last_seq(file.fd());
    REQUIRE(seq);
    REQUIRE(*seq == 42);
    REQUIRE(file.text() == whole);
  }
  const File file(whole + "{\"v\":");
  REQUIRE(last_seq(file.fd()));
  JournalWriter writer(file.fd());
  REQUIRE(writer.append(43, Time(), 0, core::Tick{}, {}));
  auto reader = JournalReader::open(file.path());
  REQUIRE(reader);
  for (const std::uint64_t expected : {41U, 42U, 43U}) CHECK((*reader->next())->seq == expected);
  CHECK_FALSE(reader->torn());
}

TEST_CASE("a journal without an entry has none as its last") {
  CHECK(*last_seq(File("").fd()) == 0);
  CHECK(*last_seq(File(kHeader).fd()) == 0);
  const File torn_header("{\"v\":1,\"type\":\"journ");
  CHECK(*last_seq(torn_header.fd()) == 0);
  CHECK(torn_header.text().empty());
  CHECK_FALSE(last_seq(File(kHeader + "garbage\n").fd()));
  CHECK_FALSE(last_seq(-1));
}

TEST_CASE("the last entry is found behind lines that are longer than a read") {
  const std::string big = entry_line(1, "child.status",
                                     R"({"key":{"service":1,"slot":0,"generation":1,"attempt":0},"text":")" +
                                         std::string(300'000, 'x') + "\"}");
  CHECK(*last_seq(File(kHeader + big).fd()) == 1);
  CHECK(*last_seq(File(kHeader + big + entry_line(2)).fd()) == 2);
  CHECK(*last_seq(File(kHeader + big + entry_line(2) + std::string(200'000, '{')).fd()) == 2);
}

TEST_CASE("what is no journal is said with its place") {
  const struct {
    const char* what;
    std::string text;
    const char* where;
    const char* message;
  } rows[] = {
      {"nothing", "", ":1", "the journal is empty"},
      {"no header", entry_line(1), ":1", "the first line is not the journal's header"},
      {"another version",
       R"({"v":2,"type":"journal.header"})"
       "\n",
       ":1", "the line is not of journal version 1"},
      {"no JSON", "hello\n", ":1", "the line is not a JSON object"},
      {"a seed that is none",
       R"({"v":1,"type":"journal.header","seed":-1})"
       "\n",
       ":1", "the value of \"seed\" is none"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.what);
    const File file(row.text);
    const auto reader = JournalReader::open(file.path());
    REQUIRE_FALSE(reader);
    CHECK(reader.error().at == file.path() + row.where);
    CHECK(reader.error().message == row.message);
  }
  CHECK(JournalReader::open("/nonexistent/journal").error().code == ENOENT);
}

TEST_CASE("a line that is no entry is said with its number and what is wrong, and never throws") {
  const std::string key = R"("key":{"service":1,"slot":0,"generation":1,"attempt":0})";
  const auto exited = [&](const std::string& rest) {
    return entry_line(2, "child.exited", "{" + key + "," + rest + "}");
  };
  const struct {
    std::string line;
    std::string message;
  } rows[] = {
      {"\n", "the line is not a JSON object"},
      {"[]\n", "the line is not a JSON object"},
      {std::string(100'000, '[') + "\n", "the line is nested too deeply, or holds a NUL byte"},
      {std::string("{\"v\":1}\0\n", 9), "the line is nested too deeply, or holds a NUL byte"},
      {"{\"v\":1,\"type\":\"\xff\"}\n", "the line is not a JSON object"},
      {"{\"v\":1}\n", "the line has no type"},
      {"{\"v\":1,\"type\":7}\n", "the line has no type"},
      {"{\"v\":1,\"type\":\"timer.fired\"}\n", "the line has no seq"},
      {"{\"v\":1,\"type\":\"timer.fired\",\"seq\":-1}\n", "the value of \"seq\" is none"},
      {"{\"v\":1,\"type\":\"timer.fired\",\"seq\":1e3}\n", "the value of \"seq\" is none"},
      {"{\"v\":1,\"type\":\"timer.fired\",\"seq\":18446744073709551616}\n", "the value of \"seq\" is none"},
      {"{\"v\":1,\"type\":\"timer.fired\",\"seq\":1}\n", "the value of \"time\" is none"},
      {R"({"v":1,"type":"timer.fired","seq":1,"time":"yesterday"})"
       "\n",
       "the value of \"time\" is none"},
      {R"({"v":1,"type":"timer.fired","seq":1,"time":"9999-01-02T03:04:05.000000006Z"})"
       "\n",
       "the value of \"time\" is none"},
      {R"({"v":1,"type":"timer.fired","seq":1,"time":"2025-01-02T03:04:05.000000006Z"})"
       "\n",
       "the line has no data"},
      {R"({"v":1,"type":"timer.fired","seq":1,"time":"2025-01-02T03:04:05.000000006Z","digest":"12","data":{}})"
       "\n",
       "the value of \"digest\" is none"},
      {entry_line(2, "no.such"), "no Event has the type \"no.such\""},
      {exited(R"("pid":"1")"), "the value of \"pid\" is none"},
      {exited(R"("pid":2147483648)"), "the value of \"pid\" is none"},
      {exited(R"("pid":-2147483649)"), "the value of \"pid\" is none"},
      {exited(R"("pid":1.5)"), "the value of \"pid\" is none"},
      {exited(R"("known":1)"), "the value of \"known\" is none"},
      {entry_line(2, "child.exited", R"({"key":[]})"), "the value of \"key\" is none"},
      {entry_line(2, "child.exited", R"({"key":{"slot":-1}})"), "the value of \"key.slot\" is none"},
      {entry_line(2, "child.exited", R"({"key":{"slot":4294967296}})"), "the value of \"key.slot\" is none"},
      {entry_line(2, "child.ready", "{" + key + R"(,"proof":"none"})"), "the value of \"proof\" is none"},
      {entry_line(2, "child.ready", "{" + key + R"(,"proof":3})"), "the value of \"proof\" is none"},
      {entry_line(2, "child.status", "{" + key + R"(,"text":{"hex":"0g"}})"),
       "the value of \"text\" is none"},
      {entry_line(2, "child.status", "{" + key + R"(,"text":{"hex":"0"}})"), "the value of \"text\" is none"},
      {entry_line(2, "child.status", "{" + key + R"(,"text":{"hex":"00","more":1}})"),
       "the value of \"text\" is none"},
      {entry_line(2, "tree.swept", "{" + key + R"(,"survivors":"1"})"), "the value of \"survivors\" is none"},
      {entry_line(2, "tree.swept", "{" + key + R"(,"survivors":[1]})"), "the value of \"survivors\" is none"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.line.substr(0, 120));
    const File file(kHeader + entry_line(1) + row.line);
    auto reader = JournalReader::open(file.path());
    REQUIRE(reader);
    CHECK((*reader->next())->seq == 1);
    const auto entry = reader->next();
    REQUIRE_FALSE(entry);
    CHECK(entry.error().message == row.message);
    CHECK(entry.error().at == file.path() + ":3");
  }
}

TEST_CASE("keys that are missing leave defaults and keys that are unknown are passed over") {
  const File file(kHeader +
                  entry_line(1, "child.exited", R"({"key":{"slot":5},"from_the_future":[1,{"a":2}]})"));
  auto reader = JournalReader::open(file.path());
  REQUIRE(reader);
  const auto entry = reader->next();
  REQUIRE(entry);
  const auto& exited = std::get<core::Exited>((**entry).event);
  CHECK(exited.key.slot == 5);
  CHECK(exited.pid == 0);
  CHECK(exited.known);
}

TEST_CASE("a journal that was bitten anywhere is read or refused, never worse") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  File good;
  JournalWriter writer(good.fd());
  RandomArchive fill(random);
  std::string text = kHeader;
  for_each_alternative([&](core::Event event) {
    std::visit([&](auto& e) { e.fields(fill); }, event);
    REQUIRE(writer.append(1, Time(), 0, event, 1));
  });
  text += good.text();
  int refused = 0;
  for (int i = 0; i < 1500; ++i) {
    std::string bitten = text;
    for (std::size_t n = 1 + random() % 3; n > 0; --n) {
      bitten[random() % bitten.size()] = static_cast<char>(random());
    }
    const File file(bitten);
    auto reader = JournalReader::open(file.path());
    if (!reader) continue;
    for (;;) {
      auto entry = reader->next();
      if (!entry) {
        ++refused;
        CHECK_FALSE(entry.error().at.empty());
      }
      if (!entry || !entry->has_value()) break;
    }
  }
  CHECK(refused > 0);
}

TEST_CASE("a failed write is an error with its errno") {
  const os::UniqueFd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  REQUIRE(full);
  JournalWriter writer(full.get());
  CHECK(writer.begin(1).error().code == ENOSPC);
  CHECK(writer.append(1, Time(), 0, core::Tick{}, {}).error().code == ENOSPC);
}

TEST_CASE("UTF-8 is told from what only looks like it") {
  const std::pair<std::string, bool> rows[] = {
      {"", true},
      {"abc", true},
      {std::string(1, '\0'), true},
      {"\x7f", true},
      {"\xc2\x80", true},
      {"\xdf\xbf", true},
      {"\xe0\xa0\x80", true},
      {"\xed\x9f\xbf", true},
      {"\xee\x80\x80", true},
      {"\xef\xbf\xbf", true},
      {"\xf0\x90\x80\x80", true},
      {"\xf4\x8f\xbf\xbf", true},
      {"\x80", false},
      {"\xc2", false},
      {"\xc0\x80", false},
      {"\xc1\xbf", false},
      {"\xe0\x9f\xbf", false},
      {"\xed\xa0\x80", false},
      {"\xf0\x8f\xbf\xbf", false},
      {"\xf4\x90\x80\x80", false},
      {"\xf5\x80\x80\x80", false},
      {"\xff", false},
      {"a\xe2\x82", false},
      {"\xe2\x28\xa1", false},
  };
  for (const auto& [bytes, expected] : rows) {
    CAPTURE(to_hex(bytes));
    CHECK(is_utf8(bytes) == expected);
    std::string back;
    CHECK(from_hex(to_hex(bytes), back));
    CHECK(back == bytes);
  }
}
