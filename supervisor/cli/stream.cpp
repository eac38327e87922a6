#include "cli/stream.hpp"

#include <cerrno>

namespace runmain::cli {

int stream(const Options& options, Terminal& terminal, const std::string& verb, Json args,
           const std::function<std::string(const Json&)>& show) {
  int exit = kClean;
  auto session = Session::open(options, terminal, exit);
  if (!session) return exit;
  const auto on_item = [&](const Json& item) {
    terminal.out << (options.json ? control::to_line(item) + "\n" : show(item));
    if (options.follow) terminal.out.flush();
    return terminal.out.good();
  };
  const std::string path = session->runtime() + "/control";
  auto answer = session->ask(verb, args, kNever, false, on_item);
  while (options.follow && !answer.ok() && answer.error().code == ECONNRESET) {
    auto next = control::Client::connect(path);
    if (!next.ok()) return kClean;
    args["lines"] = 0;
    answer = next->call(verb, args, kNever, on_item);
  }
  return exit_of(answer, terminal);
}

}  // namespace runmain::cli
