#include "web/stand_in.hpp"

#include "base/text.hpp"

namespace runmain::web {
namespace {

constexpr const char* kRetryAfter = "Retry-After: 1\r\n";

// Asks for itself until somebody else answers. The request that comes during the next start waits in the
// backlog, so the answer comes as soon as the new worker has it. Without scripts the page asks every 2 s.
constexpr const char* kAskAgain = R"(<script>
(async function ask() {
  for (;;) {
    await new Promise(done => setTimeout(done, 500));
    try {
      const answer = await fetch(location.href, {cache: "no-store", headers: {"Accept": "text/html"}});
      if (answer.status !== 503 || !answer.headers.get("X-Runmain")) return location.reload();
      document.open(); document.write(await answer.text()); document.close();
      return;
    } catch (_) {}
  }
})();
</script>
<noscript><meta http-equiv="refresh" content="2"></noscript>)";

constexpr const char* kStyle =
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:3em auto;padding:0 1em;"
    "color:#222;background:#fff}h1{font-size:1.3em;color:#b00020}pre{background:#f4f4f4;padding:1em;"
    "overflow:auto;font:13px/1.45 ui-monospace,monospace;white-space:pre-wrap}p{color:#555}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre{background:#262626}"
    "h1{color:#ff6b6b}p{color:#aaa}}</style>";

std::string html(const Trouble& trouble) {
  std::string lines;
  for (const std::string& line : trouble.lines) lines += escape_html(line) + "\n";
  const std::string name = escape_html(trouble.service);
  return "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + name +
         " does not run</title>" + kStyle + "</head><body><h1>" + name + ": " + escape_html(trouble.reason) +
         "</h1><pre>" + (lines.empty() ? "(it printed nothing)" : lines) +
         "</pre><p>runmain starts it again at the next save; this page follows.</p>" + kAskAgain +
         "</body></html>\n";
}

std::string plain(const Trouble& trouble) {
  std::string text = printable(trouble.service + ": " + trouble.reason, false) + "\n\n";
  for (const std::string& line : trouble.lines) text += printable(line, false) + "\n";
  return text;
}

}  // namespace

std::string trouble_answer(const Trouble& trouble, const HttpRequest& request) {
  HttpAnswer answer;
  answer.status = 503;
  answer.fields = std::string(kRetryAfter) + "X-Runmain: stand-in\r\n";
  if (request.wants_html) {
    answer.type = "text/html; charset=utf-8";
    answer.body = html(trouble);
  } else {
    answer.body = plain(trouble);
  }
  return to_bytes(answer, request.method == "HEAD");
}

void StandIn::open(std::vector<os::UniqueFd> listeners) {
  if (open_) return;
  open_ = true;
  servers_.clear();  // of the last time: whoever has not got its answer by now does not read
  for (os::UniqueFd& listener : listeners) {
    servers_.push_back(std::make_unique<HttpServer>(loop_, std::move(listener), [this](const HttpRequest& r) {
      return HttpServer::Reply{trouble_answer(trouble_(), r), false};
    }));
  }
}

void StandIn::close() {
  open_ = false;
  for (const auto& server : servers_) server->retire();
}

}  // namespace runmain::web
