#include "telemetry/otlp_http.hpp"

#include <algorithm>

namespace runmain::telemetry {
namespace {

constexpr std::size_t kChunkLineMax = 1024;
constexpr std::size_t kLengthDigitsMax = 18;
constexpr std::size_t kChunkDigitsMax = 15;
constexpr int kEmptyLinesMax = 4;  // in front of a request: old clients send one behind a body

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_token_char(char c) {
  const char l = lower(c);
  return is_digit(c) || (l >= 'a' && l <= 'z') ||
         (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

// Visible ASCII, blanks, and bytes above it, which say nothing that we look at.
bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

bool is_target(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > 0x20 && byte < 0x7f;
  });
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// Calls `use` with each member of a list, in lower case.
template <class Use>
void each_member(std::string_view list, const Use& use) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view member = trimmed(list.substr(0, comma));
    if (!member.empty()) use(lowered(member));
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

}  // namespace

HttpReader::State HttpReader::state() const {
  switch (step_) {
    case Step::request_line:
    case Step::fields: return State::head;
    case Step::decide: return State::decide;
    case Step::complete: return State::complete;
    case Step::failed: return State::failed;
    default: return State::body;
  }
}

bool HttpReader::takes_lines() const {
  return step_ == Step::request_line || step_ == Step::fields || step_ == Step::chunk_size ||
         step_ == Step::chunk_end || step_ == Step::trailers;
}

std::size_t HttpReader::feed(std::string_view bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size()) {
    const std::string_view rest = bytes.substr(taken);
    if (takes_lines()) {
      taken += feed_line(rest);
    } else if (step_ == Step::sized_body || step_ == Step::chunk) {
      taken += feed_body(rest);
    } else {
      break;
    }
  }
  return taken;
}

std::size_t HttpReader::feed_line(std::string_view bytes) {
  const std::size_t end = bytes.find('\n');
  const bool whole = end != std::string_view::npos;
  const std::size_t size = whole ? end + 1 : bytes.size();
  const bool begins = step_ == Step::request_line && line_.empty();
  if (begins && !is_token_char(bytes[0]) && bytes[0] != '\r') {
    fail(400, "not HTTP; nor is TLS spoken here");  // whose line would never end
    return size;
  }
  if (!count_line(size)) return size;
  line_.append(bytes.substr(0, size));
  if (!whole) return size;
  std::string line;
  line.swap(line_);
  line.pop_back();
  if (line.empty() || line.back() != '\r') {
    fail(400, "a line ends without a carriage return");
    return size;
  }
  line.pop_back();
  take_line(line);
  return size;
}

// Within a line as well as at its end: no limit waits for the end.
bool HttpReader::count_line(std::size_t size) {
  if (step_ == Step::chunk_size || step_ == Step::chunk_end) {
    const std::size_t line_room = kChunkLineMax - line_.size();
    // Beyond this, somebody sends more lines than body.
    const std::size_t framing_room = limits_.body + kChunkLineMax - framing_size_;
    framing_size_ += size;
    // The limit that its bytes come to first, wherever they are cut.
    if (size > line_room && line_room <= framing_room) {
      fail(400, "the line of a chunk is too long");
    } else if (size > framing_room) {
      fail(413, "too many chunks");
    }
  } else {
    head_size_ += size;
    if (head_size_ > limits_.head) {
      const bool target = step_ == Step::request_line;
      fail(target ? 414 : 431, target ? "the request line is too long" : "the header fields are too long");
    }
  }
  return step_ != Step::failed;
}

void HttpReader::take_line(std::string_view line) {
  switch (step_) {
    case Step::request_line:
      if (!line.empty()) return take_request_line(line);
      head_size_ = 0;
      if (++empty_lines_ > kEmptyLinesMax) fail(400, "empty lines where a request was to begin");
      return;
    case Step::fields: return line.empty() ? end_of_head() : take_field(line);
    case Step::chunk_size: return take_chunk_size(line);
    case Step::chunk_end:
      if (!line.empty()) return fail(400, "a chunk is longer than it says");
      step_ = Step::chunk_size;
      return;
    case Step::trailers:
      if (line.empty()) {
        step_ = Step::complete;
      } else {
        take_field(line);
      }
      return;
    default: return;
  }
}

void HttpReader::take_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  const std::size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return fail(400, "not a request line of HTTP");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  const bool is_http = version.size() == 8 && version.substr(0, 5) == "HTTP/" && is_digit(version[5]) &&
                       version[6] == '.' && is_digit(version[7]);
  if (!is_token(method) || !is_target(target) || !is_http) return fail(400, "not a request line of HTTP");
  if (version[5] == '2' && method == "PRI") {
    return fail(505, "this speaks OTLP by HTTP/1.1, not gRPC: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf");
  }
  if (version[5] != '1') return fail(505, "this speaks HTTP/1.1");
  old_version_ = version[7] == '0';
  request_.method = method;
  request_.keeps_alive = !old_version_;
  take_target(target);
  if (step_ != Step::failed) step_ = Step::fields;
}

void HttpReader::take_target(std::string_view target) {
  std::string_view path = target;
  if (target[0] != '/' && target != "*" && request_.method != "CONNECT") {
    const std::size_t scheme = target.find("://");
    const std::string name = lowered(target.substr(0, std::min(scheme, target.size())));
    if (scheme == std::string_view::npos || (name != "http" && name != "https")) {
      return fail(400, "neither a path nor an address as target");
    }
    path = target.substr(scheme + 3);
    path.remove_prefix(std::min(path.find_first_of("/?#"), path.size()));
  }
  path = path.substr(0, path.find_first_of("?#"));
  request_.path = path.empty() ? std::string_view("/") : path;
}

void HttpReader::take_field(std::string_view line) {
  if (++field_count_ > limits_.fields) return fail(431, "too many header fields");
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, std::min(colon, line.size()));
  if (colon == std::string_view::npos || !is_token(name)) return fail(400, "not a header field");
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (!is_field_value(value)) return fail(400, "a control character in a header field");
  // What stands in trailers came too late to be meant.
  if (step_ == Step::fields) use_field(lowered(name), value);
}

void HttpReader::use_field(std::string_view name, std::string_view value) {
  if (name == "content-length") return use_length(value);
  if (name == "connection") return use_connection(value);
  if (name == "host") {
    ++hosts_;
  } else if (name == "content-type") {
    use_once(request_.content_type, name, lowered(trimmed(value.substr(0, value.find(';')))));
  } else if (name == "content-encoding") {
    use_once(request_.content_encoding, name, lowered(value));
  } else if (name == "runmain-token") {
    request_.has_token = true;
    use_once(request_.token, name, value);
  } else if (name == "user-agent") {
    request_.user_agent = value;
  } else if (name == "expect") {
    if (lowered(value) != "100-continue") return fail(417, "what is expected is not known");
    request_.awaits_continue = true;
  } else if (name == "transfer-encoding") {
    if (is_chunked_) return fail(400, "Transfer-Encoding stands twice");
    if (lowered(value) != "chunked") return fail(501, "of transfer codings only chunked is known");
    is_chunked_ = true;
  }
}

void HttpReader::use_once(std::string& to, std::string_view name, std::string_view value) {
  if (!to.empty() && to != value) return fail(400, std::string(name) + " stands twice");
  to = value;
}

void HttpReader::use_length(std::string_view value) {
  if (has_length_) return fail(400, "Content-Length stands twice");
  has_length_ = true;
  if (value.empty() || !std::all_of(value.begin(), value.end(), is_digit)) {
    return fail(400, "Content-Length is not a number");
  }
  value.remove_prefix(std::min(value.find_first_not_of('0'), value.size()));
  left_ = 0;
  if (value.size() > kLengthDigitsMax) {
    left_ = ~std::uint64_t{0};
    return;
  }
  for (const char digit : value) left_ = left_ * 10 + static_cast<std::uint64_t>(digit - '0');
}

void HttpReader::use_connection(std::string_view value) {
  each_member(value, [this](const std::string& option) {
    if (option == "close") request_.keeps_alive = false;
  });
}

void HttpReader::end_of_head() {
  if (is_chunked_ && has_length_) return fail(400, "both Content-Length and Transfer-Encoding");
  if (is_chunked_ && old_version_) return fail(400, "Transfer-Encoding in HTTP/1.0");
  if (hosts_ > 1 || (hosts_ == 0 && !old_version_)) return fail(400, "not one Host");
  if (left_ > limits_.body) {
    return fail(413, "more than " + std::to_string(limits_.body) + " bytes are not taken at once");
  }
  const bool has_body = is_chunked_ || left_ > 0;
  request_.awaits_continue = request_.awaits_continue && has_body && !old_version_;
  step_ = Step::decide;
}

void HttpReader::keep_body() {
  if (step_ == Step::decide) begin_body();
}

void HttpReader::skip_body() {
  skips_ = true;
  body_ = std::string();
  if (step_ == Step::decide) begin_body();
}

void HttpReader::begin_body() {
  if (is_chunked_) {
    step_ = Step::chunk_size;
  } else {
    step_ = left_ > 0 ? Step::sized_body : Step::complete;
  }
}

std::size_t HttpReader::feed_body(std::string_view bytes) {
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
  if (!skips_) body_.append(bytes.substr(0, size));
  left_ -= size;
  if (left_ == 0) step_ = step_ == Step::chunk ? Step::chunk_end : Step::complete;
  return size;
}

// "1a", "1A;name=value": what is behind the number is read over.
void HttpReader::take_chunk_size(std::string_view line) {
  const std::string_view number = trimmed(line.substr(0, line.find(';')));
  std::uint64_t size = 0;
  bool is_number = !number.empty() && number.data() == line.data() && is_field_value(line);
  std::size_t digits = 0;
  for (const char c : number) {
    const int digit = hex_digit(c);
    if (digit < 0) is_number = false;
    if (digits > 0 || c != '0') ++digits;
    if (digits <= kChunkDigitsMax) size = size * 16 + static_cast<std::uint64_t>(std::max(digit, 0));
  }
  if (!is_number) return fail(400, "the size of a chunk is not a number");
  if (digits > kChunkDigitsMax || size > limits_.body - body_size_) {
    return fail(413, "more than " + std::to_string(limits_.body) + " bytes are not taken at once");
  }
  body_size_ += size;
  left_ = size;
  step_ = size > 0 ? Step::chunk : Step::trailers;
}

void HttpReader::fail(int status, const std::string& message) {
  if (step_ == Step::failed) return;
  step_ = Step::failed;
  fault_ = {status, message};
  line_ = std::string();
  body_ = std::string();
}

void HttpReader::next() {
  if (step_ == Step::complete) *this = HttpReader(limits_);
}

}  // namespace runmain::telemetry
