// What `explain` says.
#include "cli/sentences.hpp"
#include "cli/terminal.hpp"

namespace runmain::cli {
namespace {

using control::Json;
using control::text_of;

std::string shorter(const std::string& path, const std::string& here) {
  const bool below = path.size() > here.size() + 1 && path.starts_with(here + "/");
  return harmless(below ? path.substr(here.size() + 1) : path);
}

std::string ignored_by(const Json& said, const std::string& here) {
  const std::string by = text_of(said, "by");
  const std::string rule = harmless(text_of(said, "rule"));
  if (by == "built_in") {
    const std::string name = text_of(said, "name");
    const bool same = rule == name || rule == name + "/";
    return "ignored by the built-in rule `" + name + "`" + (same ? "" : ": " + rule);
  }
  if (by == "service") return "ignored by its own `ignore`: " + rule;
  return "ignored by " + shorter(text_of(said, "file"), here) + ":" +
         std::to_string(control::number_of(said, "line")) + ": " + rule;
}

std::string verdict_of(const Json& said, const std::string& here) {
  const std::string verdict = text_of(said, "verdict");
  if (verdict == "ignored") return ignored_by(said, here);
  if (verdict == "outside") return "not below a watched path";
  if (verdict == "not_included") return "no include glob matches";
  if (verdict == "nothing") return "watches nothing";
  return harmless(verdict);
}

}  // namespace

std::string explain_text(const Json& answer, const std::string& here) {
  std::string text;
  for (const Json& path : answer.value("paths", Json::array())) {
    const std::string shown = shorter(text_of(path, "path"), here);
    for (const Json& said : path.value("services", Json::array())) {
      const std::string service = harmless(text_of(said, "service"));
      const bool reloads = text_of(said, "verdict") == "watched";
      text += shown + ": " +
              (reloads ? "watched: reloads " + service : service + ": " + verdict_of(said, here)) + "\n";
    }
  }
  return text;
}

}  // namespace runmain::cli
