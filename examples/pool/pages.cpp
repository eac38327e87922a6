// What the pool's workers say: who answered, and how many requests it has answered and is answering.
#include "../hello/pages.hpp"

#include <unistd.h>

#include <string>

#include "child_runtime/child_runtime.hpp"

namespace hello {

Page page_for(const Request& request) {
  if (request.method != "GET" && request.method != "HEAD") return Page{{405, "Only GET and HEAD.\n"}};
  if (request.path == "/health") return Page{{200, "ok\n"}};
  if (request.path != "/") return Page{{404, "Nothing here. Try / or /health.\n"}};
  const runmain::Counters counted = runmain::counters();
  const std::optional<runmain::Role> role = runmain::role();
  std::string text = std::to_string(getpid());
  if (role) {
    text += " is worker " + std::to_string(role->slot) + " of generation " + std::to_string(role->generation);
  }
  return Page{{200, text + ", " + std::to_string(counted.done) + " answered\n"}};
}

}  // namespace hello
