#include "telemetry/http_sender.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>

#include "telemetry/gzip.hpp"
#include "telemetry/otlp_json.hpp"

namespace runmain::telemetry {
namespace {

constexpr long kConnectionsMax = 8;

constexpr const char* kUserAgent = "runmain/" RUNMAIN_VERSION " OTel-OTLP-Exporter-cpp/" RUNMAIN_VERSION;

bool starts_with_ignoring_case(std::string_view text, std::string_view start) {
  return text.size() >= start.size() &&
         std::equal(start.begin(), start.end(), text.begin(), [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
         });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::strchr(" \t\r\n", text.front()) != nullptr) text.remove_prefix(1);
  while (!text.empty() && std::strchr(" \t\r\n", text.back()) != nullptr) text.remove_suffix(1);
  return text;
}

struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct MultiDeleter {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};

// One request on its way.
struct Transfer {
  std::uint64_t id = 0;
  std::unique_ptr<CURL, EasyDeleter> easy;
  std::string body;  // where it is not the request's own
  Answer answer;
  bool too_long = false;
  char error[CURL_ERROR_SIZE] = "";
};

std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  if (transfer->answer.body.size() + size * count > kAnswerBytesMax) {
    transfer->too_long = true;
    return 0;
  }
  transfer->answer.body.append(bytes, size * count);
  return size * count;
}

std::size_t on_field(char* bytes, std::size_t size, std::size_t count, void* user) {
  constexpr std::string_view kRetryAfter = "retry-after:";
  constexpr std::string_view kType = "content-type:";
  constexpr std::size_t kValueMax = 256;
  auto* transfer = static_cast<Transfer*>(user);
  const std::string_view field(bytes, size * count);
  if (starts_with_ignoring_case(field, kRetryAfter)) {
    transfer->answer.retry_after = trimmed(field.substr(kRetryAfter.size())).substr(0, kValueMax);
  } else if (starts_with_ignoring_case(field, kType)) {
    transfer->answer.json =
        starts_with_ignoring_case(trimmed(field.substr(kType.size())), "application/json");
  }
  return field.size();
}

}  // namespace

struct HttpSender::Impl {
  Impl(os::Loop& its_loop, Endpoint its_endpoint, Done its_done)
      : loop(its_loop), endpoint(std::move(its_endpoint)), done(std::move(its_done)) {}

  os::Loop& loop;
  Endpoint endpoint;
  Done done;
  std::unique_ptr<curl_slist, ListDeleter> fields;
  std::map<curl_socket_t, std::unique_ptr<os::Poll>> polls;
  std::unique_ptr<os::Timer> timer;
  std::unique_ptr<os::Timer> later;  // tells of requests that failed at once
  std::map<std::uint64_t, std::unique_ptr<Transfer>> transfers;
  std::map<std::uint64_t, Answer> failed;
  std::unique_ptr<CURLM, MultiDeleter> multi;  // goes first: it lets go of polls and timer

  bool begin();
  void add_field(const std::string& field) {
    fields.reset(curl_slist_append(fields.release(), field.c_str()));
  }
  void options(Transfer& transfer) const;
  bool body(Transfer& transfer, const Request& request) const;
  void fail(std::uint64_t id, const std::string& error);
  void act(curl_socket_t socket, int events);
  void collect();
  void finish(CURL* easy, CURLcode code);

  static int on_socket(CURL* easy, curl_socket_t socket, int what, void* user, void* own);
  static int on_timer(CURLM* multi, long timeout_ms, void* user);
};

bool HttpSender::Impl::begin() {
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  multi.reset(curl_multi_init());
  if (global != CURLE_OK || !multi) return false;
  timer = loop.timer([this] { act(CURL_SOCKET_TIMEOUT, 0); });
  later = loop.timer([this] {
    for (const auto& [id, answer] : std::exchange(failed, {})) done(id, answer);
  });
  curl_multi_setopt(multi.get(), CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi.get(), CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi.get(), CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi.get(), CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi.get(), CURLMOPT_MAX_TOTAL_CONNECTIONS, kConnectionsMax);
  add_field(endpoint.json ? "Content-Type: application/json" : "Content-Type: application/x-protobuf");
  if (endpoint.gzip) add_field("Content-Encoding: gzip");
  add_field("Expect:");  // no round trip to ask for permission
  for (const auto& [name, value] : endpoint.headers) {
    add_field(value.empty() ? name + ";" : name + ": " + value);  // libcurl's way to send an empty one
  }
  return true;
}

void HttpSender::Impl::options(Transfer& transfer) const {
  CURL* easy = transfer.easy.get();
  curl_easy_setopt(easy, CURLOPT_URL, endpoint.url.c_str());
#if LIBCURL_VERSION_NUM >= 0x075500
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fields.get());
  curl_easy_setopt(easy, CURLOPT_USERAGENT, kUserAgent);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(to_ms(endpoint.timeout)));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(to_ms(endpoint.timeout)));
  if (!endpoint.certificate.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, endpoint.certificate.c_str());
  if (!endpoint.client_certificate.empty()) {
    curl_easy_setopt(easy, CURLOPT_SSLCERT, endpoint.client_certificate.c_str());
  }
  if (!endpoint.client_key.empty()) curl_easy_setopt(easy, CURLOPT_SSLKEY, endpoint.client_key.c_str());
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_field);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
}

bool HttpSender::Impl::body(Transfer& transfer, const Request& request) const {
  std::string_view bytes = request.bytes;
  if (endpoint.json) {
    auto json = to_json(request_message(request.signal), bytes);
    if (!json) return false;
    transfer.body = std::move(*json);
    bytes = transfer.body;
  }
  if (endpoint.gzip) {
    auto small = gzip(bytes);
    if (!small) return false;
    transfer.body = std::move(*small);
    bytes = transfer.body;
  }
  CURL* easy = transfer.easy.get();
  curl_easy_setopt(easy, CURLOPT_POST, 1L);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(bytes.size()));
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, bytes.data());
  return true;
}

void HttpSender::Impl::fail(std::uint64_t id, const std::string& error) {
  Answer& answer = failed[id];
  answer.how = Answer::How::no_connection;
  answer.error = error;
  later->set(os::Loop::now());
}

int HttpSender::Impl::on_socket(CURL*, curl_socket_t socket, int what, void* user, void*) {
  auto* impl = static_cast<Impl*>(user);
  if (what == CURL_POLL_REMOVE) {
    impl->polls.erase(socket);
    return 0;
  }
  const int events =
      ((what & CURL_POLL_IN) != 0 ? os::kReadable : 0) | ((what & CURL_POLL_OUT) != 0 ? os::kWritable : 0);
  std::unique_ptr<os::Poll>& poll = impl->polls[socket];
  if (poll) {
    poll->want(events);
    return 0;
  }
  poll = impl->loop.poll(socket, events, [impl, socket](int ready) {
    impl->act(socket, ((ready & os::kReadable) != 0 ? CURL_CSELECT_IN : 0) |
                          ((ready & os::kWritable) != 0 ? CURL_CSELECT_OUT : 0));
  });
  return 0;
}

int HttpSender::Impl::on_timer(CURLM*, long timeout_ms, void* user) {
  auto* impl = static_cast<Impl*>(user);
  if (timeout_ms < 0) {
    impl->timer->cancel();
  } else {
    impl->timer->set(os::Loop::now() + std::chrono::milliseconds(timeout_ms));
  }
  return 0;
}

void HttpSender::Impl::act(curl_socket_t socket, int events) {
  int running = 0;
  curl_multi_socket_action(multi.get(), socket, events, &running);
  collect();
}

void HttpSender::Impl::collect() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
    if (message->msg == CURLMSG_DONE) finish(message->easy_handle, message->data.result);
  }
}

void HttpSender::Impl::finish(CURL* easy, CURLcode code) {
  Transfer* transfer = nullptr;
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  long sent = 0;
  curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &sent);
  curl_multi_remove_handle(multi.get(), easy);
  const auto found = transfers.find(transfer->id);
  const std::unique_ptr<Transfer> owned = std::move(found->second);
  transfers.erase(found);
  Answer& answer = owned->answer;
  answer.status = static_cast<int>(status);
  if (owned->too_long) {
    answer.how = Answer::How::too_long;
  } else if (code != CURLE_OK) {
    answer.how = sent > 0 ? Answer::How::cut_off : Answer::How::no_connection;
    answer.error = owned->error[0] != '\0' ? owned->error : curl_easy_strerror(code);
  }
  done(owned->id, answer);
}

Result<std::unique_ptr<HttpSender>> HttpSender::make(os::Loop& loop, Endpoint endpoint, Done done) {
  auto impl = std::make_unique<Impl>(loop, std::move(endpoint), std::move(done));
  if (!impl->begin()) return Error{"libcurl cannot begin"};
  return std::unique_ptr<HttpSender>(new HttpSender(std::move(impl)));
}

HttpSender::HttpSender(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpSender::~HttpSender() {
  for (const auto& [id, transfer] : impl_->transfers) {
    curl_multi_remove_handle(impl_->multi.get(), transfer->easy.get());
  }
  impl_->transfers.clear();
  impl_->multi.reset();
}

void HttpSender::send(std::uint64_t id, const Request& request) {
  auto transfer = std::make_unique<Transfer>();
  transfer->id = id;
  transfer->easy.reset(curl_easy_init());
  if (!transfer->easy || !impl_->body(*transfer, request)) return impl_->fail(id, "no memory for a request");
  impl_->options(*transfer);
  Transfer& kept = *(impl_->transfers[id] = std::move(transfer));
  if (curl_multi_add_handle(impl_->multi.get(), kept.easy.get()) == CURLM_OK) return;
  impl_->transfers.erase(id);
  impl_->fail(id, "libcurl refuses a request");
}

std::size_t HttpSender::in_flight() const { return impl_->transfers.size() + impl_->failed.size(); }

}  // namespace runmain::telemetry
