#include "cli/stream.hpp"

#include <cerrno>

namespace runmain::cli {

int run_stream(const Options& options, Terminal& terminal, const Stream& stream) {
  int exit = kClean;
  auto session = Session::open(options, terminal, exit);
  if (!session) return exit;
  const auto on_item = [&](const Json& item) {
    const std::string text = stream.show(item);
    if (text.empty()) return true;
    terminal.out << (options.json ? control::to_line(item) + "\n" : text);
    if (options.follow) terminal.out.flush();
    return terminal.out.good();
  };
  const std::string path = session->runtime() + "/control";
  auto answer = session->ask(stream.verb, stream.args, kNever, false, on_item);
  while (options.follow && !answer.ok() && answer.error().code == ECONNRESET) {
    auto next = control::Client::connect(path);
    if (!next.ok()) return kClean;
    answer = next->call(stream.verb, stream.args_again(), kNever, on_item);
  }
  return exit_of(answer, terminal);
}

}  // namespace runmain::cli
