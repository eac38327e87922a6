#include "cli/doctor_text.hpp"

#include <algorithm>
#include <vector>

#include "cli/terminal.hpp"

namespace runmain::cli {
namespace {

using control::Json;

constexpr std::size_t kResourceShown = 8;
constexpr std::size_t kArgvShown = 100;  // columns

// "/home/me/venv/lib/python3.11/site-packages/flask/app.py:3" to "…/flask/app.py:3".
std::string shortened(std::string words) {
  for (const std::string folder : {"/site-packages/", "/dist-packages/", "/node_modules/"}) {
    for (std::size_t at = words.find(folder); at != std::string::npos; at = words.find(folder)) {
      const std::size_t before = words.find_last_of(" (\"", at);
      const std::size_t begin = before == std::string::npos ? 0 : before + 1;
      words.replace(begin, at + folder.size() - begin, "…/");
    }
  }
  return words;
}

std::string text(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? shortened(harmless(found->get<std::string>()))
                                                   : std::string();
}

std::string number(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_integer() ? std::to_string(found->get<std::int64_t>()) : "0";
}

std::vector<std::string> texts(const Json& json, const char* key) {
  std::vector<std::string> all;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) return all;
  for (const Json& one : *found) {
    if (one.is_string()) all.push_back(shortened(harmless(one.get<std::string>())));
  }
  return all;
}

bool flag(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() && found->get<bool>();
}

const Json& list(const Json& json, const char* key) {
  static const Json kNone = Json::array();
  const auto found = json.find(key);
  return found != json.end() && found->is_array() ? *found : kNone;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : between) + word;
  return all;
}

// A program and its script by their names: where they are matters less than what they are.
std::string command_text(std::vector<std::string> argv) {
  for (std::size_t i = 0; i < std::min<std::size_t>(argv.size(), 2); ++i) {
    if (argv[i].rfind('/', 0) == 0) argv[i] = argv[i].substr(argv[i].rfind('/') + 1);
  }
  return joined(argv, " ");
}

class Chart {
 public:
  Chart(bool colour, std::size_t width) : colour_(colour), width_(width) {}

  std::string of(const Json& report) {
    processes(report);
    providers(report);
    // What matters stands where the eye ends.
    const Json& findings = list(report, "findings");
    std::size_t n = 0;
    for (const Json& finding : findings) this->finding(finding, ++n);
    for (const std::string& note : texts(report, "notes"))
      out_ += wrapped(note + ".", "Note: ", width_) + "\n";
    verdict(report, findings.size());
    return out_;
  }

 private:
  std::string in(Style style, const std::string& words) const { return styled(words, style, colour_); }

  void processes(const Json& report) {
    out_ += in(Style::bold, "Processes") + "\n";
    for (const Json& process : list(report, "processes")) {
      const std::string role = text(process, "role");
      std::string line =
          "  pid " + number(process, "pid") + "  " + in(role == "serves" ? Style::green : Style::plain, role);
      if (const std::string requests = number(process, "requests"); requests != "0")
        line += ", " + requests + (requests == "1" ? " request" : " requests");
      if (!flag(process, "probe")) line += in(Style::dim, ", seen from outside only");
      out_ += line + "\n" +
              in(Style::dim, "      " + cut_to(command_text(texts(process, "argv")), kArgvShown)) + "\n";
    }
    out_ += "\n";
  }

  void side(const Json& side) {
    out_ += "   pid " + number(side, "pid") + " (" + text(side, "role") + "): " + text(side, "what") + "\n";
    for (const std::string& frame : texts(side, "shown")) out_ += in(Style::cyan, "       " + frame) + "\n";
  }

  void finding(const Json& finding, std::size_t n) {
    out_ += in(Style::red, std::to_string(n) + ". " + text(finding, "title")) + "\n";
    out_ += in(Style::dim, "   " + text(finding, "cause") + ", " + text(finding, "sure") + "; seen by " +
                               joined(texts(finding, "seen_by"), ", ")) +
            "\n";
    for (const Json& one : list(finding, "stacks")) side(one);
    for (const std::string& sentence : texts(finding, "evidence")) out_ += wrapped(sentence, "   - ", width_);
    out_ += in(Style::green, wrapped(text(finding, "fix"), "   Mend it: ", width_));
    out_ += "\n";
  }

  void provider(const Json& provider) {
    out_ += "  pid " + number(provider, "pid") + "  " + text(provider, "class");
    if (const std::string at = text(provider, "at"); !at.empty()) out_ += ", made at " + at;
    if (!flag(provider, "set")) out_ += in(Style::yellow, ", not the one that is set");
    out_ += "\n";
    for (const Json& p : list(provider, "processors")) {
      std::string line = "      " + text(p, "class");
      if (const std::string exporter = text(p, "exporter"); !exporter.empty()) line += " → " + exporter;
      if (const std::string endpoint = text(p, "endpoint"); !endpoint.empty()) line += " " + endpoint;
      if (const std::string at = text(p, "at"); !at.empty()) line += "  (" + at + ")";
      out_ += line + "\n";
    }
    std::vector<std::string> automatic;
    for (const Json& i : list(provider, "instrumentations")) {
      const std::string at = text(i, "at");
      if (flag(i, "automatic")) {
        const std::string name = text(i, "class");
        if (std::find(automatic.begin(), automatic.end(), name) == automatic.end()) automatic.push_back(name);
      } else {
        out_ += "      " + text(i, "class") + (at.empty() ? "" : "  (" + at + ")") + "\n";
      }
    }
    if (!automatic.empty()) out_ += wrapped("automatically: " + joined(automatic, ", "), "      ", width_);
    const auto resource = provider.find("resource");
    if (resource == provider.end() || !resource->is_object()) return;
    std::vector<std::string> words;
    for (const auto& [key, value] : resource->items()) {
      if (words.size() < kResourceShown && value.is_string())
        words.push_back(harmless(key) + "=" + harmless(value.get<std::string>()));
    }
    out_ += in(Style::dim, wrapped(joined(words, ", "), "      ", width_));
  }

  void providers(const Json& report) {
    const Json& all = list(report, "providers");
    if (!all.empty()) {
      out_ += in(Style::bold, "Providers") + "\n";
      for (const Json& one : all) provider(one);
    }
    for (const Json& collector : list(report, "collectors")) {
      const std::string reach = text(collector, "reach");
      if (reach == "answers") continue;
      out_ += in(Style::yellow, "  nobody takes spans at " + text(collector, "endpoint") + ": " +
                                    (reach == "silent" ? "it does not answer" : "connection refused")) +
              "\n";
    }
    if (!all.empty()) out_ += "\n";
  }

  void verdict(const Json& report, std::size_t findings) {
    const auto served = report.find("served");
    const std::string spans = served == report.end() ? "0" : number(*served, "spans");
    const std::string requests = served == report.end() ? "0" : number(*served, "requests");
    const std::string port = served == report.end() ? "0" : number(*served, "port");
    std::string looked =
        requests + " requests" + (port == "0" ? "" : " to port " + port) + ", " + spans + " spans";
    const Json none = Json::object();
    const Json& listens = list(served == report.end() ? none : *served, "listens");
    if (listens.size() > 1)
      looked += "; it listens on " + listens.dump() + ", --request URL asks another one";
    if (findings == 0 && report.find("fault") == report.end()) {
      out_ += in(Style::green, "Nothing found") + " (" + looked + ").\n";
    } else {
      out_ += std::to_string(findings) + (findings == 1 ? " finding (" : " findings (") + looked + ").\n";
    }
  }

  bool colour_;
  std::size_t width_;
  std::string out_;
};

}  // namespace

std::string doctor_text(const Json& report, bool colour, std::size_t width, const std::string& folder) {
  std::string text = Chart(colour, width).of(report);
  const std::string prefix = folder + "/";
  if (folder.empty() || folder == "/") return text;
  for (std::size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at))
    text.erase(at, prefix.size());
  return text;
}

}  // namespace runmain::cli
