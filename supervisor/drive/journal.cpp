#include "drive/journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <ctime>

#include "base/wall_time.hpp"
#include "drive/journal_names.hpp"
#include "drive/json_archive.hpp"
#include "drive/json_text.hpp"

namespace runmain::drive {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t kChunk = 64U << 10U;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr int kLastYear = 2261;  // the last whole one whose nanoseconds fit into 63 bits

std::string dump(const ordered_json& object) {
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

bool from_rfc3339(const std::string& text, std::int64_t& wall_ns) {
  static constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
  if (text.size() != kShape.size()) return false;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    if (kShape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != kShape[i]) return false;
  }
  const auto number = [&](std::size_t at, std::size_t n) { return std::atoi(text.substr(at, n).c_str()); };
  std::tm parts{};
  parts.tm_year = number(0, 4) - 1900;
  parts.tm_mon = number(5, 2) - 1;
  parts.tm_mday = number(8, 2);
  parts.tm_hour = number(11, 2);
  parts.tm_min = number(14, 2);
  parts.tm_sec = number(17, 2);
  if (number(0, 4) < 1970 || number(0, 4) > kLastYear) return false;
  wall_ns = std::int64_t{timegm(&parts)} * kSecond + number(20, 9);
  return true;
}

// What the keys before `data` say: whom the Event is about.
struct About {
  std::optional<ServiceId> service;
  std::optional<ChildKey> key;
  std::int32_t pid = 0;
};

About about(const core::Event& event) {
  About a;
  std::visit(
      [&](const auto& e) {
        if constexpr (requires { e.key; }) {
          a.key = e.key;
          a.service = e.key.service;
        } else if constexpr (requires { e.service; }) {
          a.service = e.service;
        }
        if constexpr (requires { e.pid; }) a.pid = e.pid;
      },
      event);
  return a;
}

ordered_json data_of(const core::Event& event) {
  ordered_json data = ordered_json::object();
  std::visit(
      [&](const auto& e) {
        JsonWriter writer(data);
        const_cast<std::decay_t<decltype(e)>&>(e).fields(writer);  // writing changes nothing
      },
      event);
  return data;
}

bool take_hex64(const json& value, std::uint64_t& out) {
  std::string bytes;
  if (!value.is_string() || !from_hex(value.get_ref<const std::string&>(), bytes) || bytes.size() != 8)
    return false;
  out = 0;
  for (const char c : bytes) out = out << 8U | static_cast<unsigned char>(c);
  return true;
}

std::string hex64(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016" PRIx64, value);
  return text;
}

// One line as an object of our version, or what is wrong with it.
Result<json> parse_line(const std::string& line) {
  if (!json_may_be_parsed(line, kJournalNestingMax))
    return Error{"the line is nested too deeply, or holds a NUL byte"};
  json object = json::parse(line, nullptr, false);
  if (!object.is_object()) return Error{"the line is not a JSON object"};
  int version = 0;
  JsonReader in(object);
  in("v", version);
  if (version != kJournalVersion)
    return Error{"the line is not of journal version " + std::to_string(kJournalVersion)};
  if (!object.contains("type") || !object["type"].is_string()) return Error{"the line has no type"};
  return object;
}

Result<JournalEntry> parse_entry(json& object) {
  JournalEntry entry;
  JsonReader in(object);
  in("seq", entry.seq);
  in("mono_ns", entry.mono);
  if (!in.ok()) return Error{"the value of \"" + in.fault() + "\" is none"};
  if (entry.seq == 0) return Error{"the line has no seq"};
  const auto time = object.find("time");
  if (time == object.end() || !time->is_string() ||
      !from_rfc3339(time->get_ref<const std::string&>(), entry.wall_ns)) {
    return Error{"the value of \"time\" is none"};
  }
  if (const auto digest = object.find("digest"); digest != object.end()) {
    if (!take_hex64(*digest, entry.digest.emplace())) return Error{"the value of \"digest\" is none"};
  }
  const auto data = object.find("data");
  if (data == object.end() || !data->is_object()) return Error{"the line has no data"};
  json event = std::move(*data);
  event["type"] = object.at("type");
  if (!in.take(event, entry.event)) {
    const std::string what = in.fault().empty()
                                 ? "no Event has the type \"" + object.at("type").get<std::string>() + "\""
                                 : "the value of \"" + in.fault() + "\" is none";
    return Error{what};
  }
  return entry;
}

}  // namespace

Result<void> JournalWriter::begin(std::uint64_t seed) {
  const ordered_json header = {
      {"v", kJournalVersion}, {"type", "journal.header"}, {"version", RUNMAIN_VERSION}, {"seed", seed}};
  return os::write_all(fd_, dump(header) + "\n");
}

Result<void> JournalWriter::append(std::uint64_t seq, Time mono, std::int64_t wall_ns,
                                   const core::Event& event, std::optional<std::uint64_t> digest) {
  ordered_json line = {{"v", kJournalVersion},
                       {"seq", seq},
                       {"time", rfc3339(std::max<std::int64_t>(wall_ns, 0))},
                       {"mono_ns", mono.time_since_epoch().count()},
                       {"type", core::type_name(event)}};
  const About a = about(event);
  if (a.service) {
    const std::string name = name_of_ ? name_of_(*a.service) : std::string();
    line["service"] = name.empty() ? ordered_json(a.service->value) : ordered_json(name);
  }
  if (a.key) {
    line["slot"] = a.key->slot;
    line["generation"] = a.key->generation;
  }
  if (a.pid != 0) line["pid"] = a.pid;
  line["cause"] = 0;  // nothing that the core decided: an Event is a beginning
  line["data"] = data_of(event);
  if (digest) line["digest"] = hex64(*digest);
  return os::write_all(fd_, dump(line) + "\n");
}

Result<JournalReader> JournalReader::open(const std::string& path) {
  os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Error::from_errno(path, errno);
  JournalReader reader(std::move(fd), path);
  auto line = reader.line();
  if (!line) return line.error();
  reader.line_number_ = 1;
  if (!*line) return reader.fault("the journal is empty");
  auto object = parse_line(**line);
  if (!object) return reader.fault(object.error().message);
  if (object->at("type") != "journal.header")
    return reader.fault("the first line is not the journal's header");
  JsonReader in(*object);
  in("version", reader.header_.version);
  in("seed", reader.header_.seed);
  if (!in.ok()) return reader.fault("the value of \"" + in.fault() + "\" is none");
  return reader;
}

Result<std::optional<JournalEntry>> JournalReader::next() {
  auto text = line();
  if (!text) return text.error();
  if (!*text) return std::optional<JournalEntry>();
  auto object = parse_line(**text);
  if (!object) return fault(object.error().message);
  auto entry = parse_entry(*object);
  if (!entry) return fault(entry.error().message);
  return std::optional<JournalEntry>(std::move(*entry));
}

// The next line that ends with a newline, without it; nothing at the end of the file.
Result<std::optional<std::string>> JournalReader::line() {
  for (std::size_t from = at_;;) {
    const std::size_t end = buffer_.find('\n', from);
    if (end != std::string::npos) {
      std::string text = buffer_.substr(at_, end - at_);
      at_ = end + 1;
      ++line_number_;
      return std::optional(std::move(text));
    }
    buffer_.erase(0, at_);
    at_ = 0;
    from = buffer_.size();
    if (buffer_.size() > kJournalLineMax) {
      ++line_number_;
      return fault("the line is longer than " + std::to_string(kJournalLineMax) + " bytes");
    }
    buffer_.resize(from + kChunk);
    ssize_t n = 0;
    do {
      n = read(fd_.get(), buffer_.data() + from, kChunk);
    } while (n < 0 && errno == EINTR);
    buffer_.resize(from + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0) return Error::from_errno(path_, errno);
    if (n == 0) {
      torn_ = !buffer_.empty();
      return std::optional<std::string>();
    }
  }
}

Error JournalReader::fault(const std::string& message) const {
  return Error{message, path_ + ":" + std::to_string(line_number_), {}, 0};
}

namespace {

// Where the last '\n' before `end` stands, or nothing. At most kJournalLineMax bytes are looked at.
Result<std::optional<std::uint64_t>> newline_before(int fd, std::uint64_t end) {
  const std::uint64_t stop = end > kJournalLineMax ? end - kJournalLineMax : 0;
  while (end > stop) {
    const std::uint64_t start = end - std::min<std::uint64_t>(kChunk, end - stop);
    auto bytes = os::pread_some(fd, static_cast<std::size_t>(end - start), start);
    if (!bytes) return bytes.error();
    const std::size_t at = bytes->rfind('\n');
    if (at != std::string::npos) return std::optional<std::uint64_t>(start + at);
    end = start;
  }
  if (stop > 0) return Error{"a line of the journal is too long"};
  return std::optional<std::uint64_t>();
}

}  // namespace

Result<std::uint64_t> last_seq(int fd) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return Error::from_errno("journal", errno);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  auto last = newline_before(fd, size);
  if (!last) return last.error();
  const std::uint64_t whole = *last ? **last + 1 : 0;
  if (whole != size && ftruncate(fd, static_cast<off_t>(whole)) != 0)
    return Error::from_errno("journal", errno);
  if (lseek(fd, 0, SEEK_END) < 0) return Error::from_errno("journal", errno);
  if (whole == 0) return std::uint64_t{0};

  auto before = newline_before(fd, whole - 1);
  if (!before) return before.error();
  const std::uint64_t start = *before ? **before + 1 : 0;
  auto line = os::pread_some(fd, static_cast<std::size_t>(whole - 1 - start), start);
  if (!line) return line.error();
  auto object = parse_line(*line);
  if (!object) return Error{"the journal's last line: " + object.error().message};
  if (object->at("type") == "journal.header") return std::uint64_t{0};
  auto entry = parse_entry(*object);
  if (!entry) return Error{"the journal's last line: " + entry.error().message};
  return entry->seq;
}

}  // namespace runmain::drive
