#include "pages.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "child_runtime/trace.hpp"

namespace hello {
namespace {

constexpr std::chrono::milliseconds kSlowMax = std::chrono::minutes(1);

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "-";
}

std::string greeting() {
  const auto span = runmain::start_as_current_span("greeting");
  return "Hello from generation " + variable("RUNMAIN_GENERATION") + ", worker " +
         variable("RUNMAIN_WORKER") + ".\n";
}

// The number after "ms=".
std::chrono::milliseconds delay_of(std::string_view query) {
  int ms = 0;
  if (query.substr(0, 3) == "ms=") std::from_chars(query.data() + 3, query.data() + query.size(), ms);
  return std::clamp(std::chrono::milliseconds(ms), std::chrono::milliseconds(0), kSlowMax);
}

}  // namespace

Page page_for(const Request& request) {
  if (request.method != "GET" && request.method != "HEAD") return Page{{405, "Only GET and HEAD.\n"}};
  if (request.path == "/") return Page{{200, greeting()}};
  if (request.path == "/health") return Page{{200, "ok\n"}};
  if (request.path == "/slow") return Page{{200, greeting()}, delay_of(request.query)};
  return Page{{404, "Nothing here. Try /, /health or /slow?ms=500.\n"}};
}

}  // namespace hello
