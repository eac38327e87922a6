// `runmain traces`: recent traces as trees, out of the observer's memory.
#include <algorithm>
#include <cerrno>
#include <set>
#include <thread>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/observer_link.hpp"
#include "cli/session.hpp"
#include "cli/trace_book.hpp"

namespace runmain::cli {
namespace {

constexpr std::size_t kTracesMax = 100'000;
constexpr std::size_t kShownBeforeMax = 200'000;  // spans that a follower remembers to have shown
constexpr std::chrono::milliseconds kTriedAgain{200};
constexpr std::chrono::milliseconds kLook{50};     // between two looks at what is due, while spans come
constexpr std::chrono::seconds kObserverBack{15};  // so long a follower waits for the next observer

Time now() { return control::deadline_after(Duration::zero()); }

Json question_of(const Options& options) {
  Json question{{"v", 1}, {"verb", "traces"}};
  if (!options.service.empty()) question["service"] = options.service;
  if (options.generation > 0) question["generation"] = options.generation;
  question["duplicates"] = options.duplicates;
  question["follow"] = options.follow;
  return question;
}

class Traces {
 public:
  Traces(const Options& options, Terminal& terminal, std::string path)
      : options_(options), terminal_(terminal), path_(std::move(path)) {}

  int run() {
    auto link = ask();
    if (!link) return complain_of(link.error());
    for (;;) {
      const auto json = link->next(deadline());
      if (json.ok()) {
        if (!take(*json)) return end();
      } else if (options_.follow && json.error().code == ETIMEDOUT) {
        show_due();
      } else if (options_.follow && json.error().code == ECONNRESET) {
        if (!follow_next(link)) return end();
      } else {
        return complain_of(json.error());
      }
      if (!terminal_.out.good()) return kClean;
    }
  }

 private:
  Result<ObserverLink> ask() {
    const Time limit = control::deadline_after(kQuestionLimit);
    auto link = ObserverLink::connect(path_, limit);
    if (!link) return link;
    if (auto asked = link->ask(question_of(options_), limit); !asked) return asked.error();
    return link;
  }

  int complain_of(Error error) {
    if (error.code == ENOENT)
      error =
          Error{"no telemetry here: it is off, has no endpoint in prod mode, or runmain-observer is missing"};
    if (error.code == ECONNREFUSED) error = Error{"the observer is not running"};
    complain(terminal_, error);
    return error.code == ETIMEDOUT ? kTimedOut : kServiceFailed;
  }

  // Of the next line that is waited for.
  Time deadline() const {
    if (!options_.follow) return control::deadline_after(kQuestionLimit);
    return before_ ? std::min(control::deadline_after(TraceBook::kQuiet), before_until_) : book_.due();
  }

  // False: that was all.
  bool take(const Json& json) {
    if (control::flag_of(json, "end")) {
      again_until_ = {};
      kept_ = json.value("kept", Json(true)) != false;
      if (!options_.follow) return false;
      if (before_) show_before();
      return true;
    }
    if (const std::string why = control::text_of(json, "error"); !why.empty()) {
      refused_ = why;
      return false;
    }
    const auto found = json.find("span");
    if (found == json.end()) return true;
    auto span = span_of(*found);
    if (!span) return true;
    if (options_.follow && !is_new(*span)) return true;
    if (options_.json && options_.follow && !before_) {
      terminal_.out << control::to_line(*found) << std::endl;
    } else {
      book_.add({std::move(*span), *found}, now());
    }
    if (options_.follow && now() >= (before_ ? before_until_ : look_at_)) show_due();
    return true;
  }

  // After an observer's death the next one tells again what it knows.
  bool is_new(const TraceSpan& span) {
    const std::string id = span.trace_id + span.span_id;
    const bool known = shown_.count(id) != 0;
    if (!known && shown_.size() < kShownBeforeMax) shown_.insert(id);
    return !known || now() >= again_until_;
  }

  int end() {
    if (!refused_.empty()) return complain_of(Error{"the observer: " + refused_});
    show_newest(before_ ? options_.traces : kTracesMax);
    if (first_ && !options_.follow) say_nothing_there();
    return kClean;
  }

  // A person wonders; a program reads nothing.
  void say_nothing_there() {
    if (options_.json || terminal_.width == 0 || options_.traces == 0) return;
    const bool asked_for_some = !options_.service.empty() || options_.generation > 0 || options_.duplicates;
    terminal_.err << (!kept_ ? "no spans are kept in prod mode until somebody looks: `runmain traces -f`\n"
                      : asked_for_some ? "no such spans yet\n"
                                       : "no spans yet\n");
  }

  void show_before() {
    before_ = false;
    show_newest(options_.traces);
  }

  void show_newest(std::size_t count) {
    for (const TraceBook::Trace& trace : book_.take_newest(count)) show(trace);
    if (book_.dropped() > 0)
      terminal_.err << "and " << book_.dropped() << " spans of older traces that there was no room for\n";
    terminal_.out.flush();
  }

  void show_due() {
    if (before_) return show_before();
    for (const TraceBook::Trace& trace : book_.take_due(now())) show(trace);
    look_at_ = control::deadline_after(kLook);
    terminal_.out.flush();
  }

  void show(const TraceBook::Trace& trace) {
    if (options_.json) {
      for (const TraceBook::Entry& entry : trace) terminal_.out << control::to_line(entry.json) << '\n';
      return;
    }
    std::vector<TraceSpan> spans;
    for (const TraceBook::Entry& entry : trace) spans.push_back(entry.span);
    terminal_.out << (first_ ? "" : "\n") << trace_tree(spans, terminal_.colour, terminal_.width);
    first_ = false;
  }

  bool follow_next(Result<ObserverLink>& link) {
    show_due();
    for (const Time limit = control::deadline_after(kObserverBack); now() < limit;) {
      std::this_thread::sleep_for(kTriedAgain);
      link = ask();
      again_until_ = control::deadline_after(TraceBook::kPatience);
      if (link) return true;
      if (!Session::find(options_)) return false;  // all of it has ended
    }
    return false;
  }

  const Options& options_;
  Terminal& terminal_;
  std::string path_;
  TraceBook book_;
  std::set<std::string> shown_;
  std::string refused_;  // why the observer answers nothing
  bool kept_ = true;     // spans were kept before we asked
  Time look_at_{};
  bool before_ =
      true;  // what was there before is not shown yet: it ends where nothing comes for a moment, or …
  Time before_until_ = control::deadline_after(TraceBook::kPatience);  // … where spans come without a pause
  Time again_until_{};  // until then what comes may be what was shown
  bool first_ = true;
};

int run_traces(const Options& options, Terminal& terminal) {
  int exit = kClean;
  std::string path;
  {
    auto session = Session::open(options, terminal, exit);
    if (!session) return exit;
    path = session->runtime() + "/observer";
  }
  return Traces(options, terminal, std::move(path)).run();
}

}  // namespace

void add_traces(CLI::App& app, Options& options) {
  CLI::App* command = add_command(
      app, options, "traces", "Show recent traces as trees",
      "  runmain traces\n  runmain traces -f --service web\n  runmain traces --duplicates", run_traces);
  command->add_flag("-f,--follow", options.follow, "go on with what comes");
  command->add_option("-n,--traces", options.traces, "so many of the newest (default: 20)")
      ->check(CLI::Range(std::size_t{0}, kTracesMax))
      ->type_name("N");
  command->add_option("--service", options.service, "only spans of this service")->type_name("SERVICE");
  command->add_option("--generation", options.generation, "only spans of this generation")
      ->check(CLI::Range(1U, 0xffffffffU))
      ->type_name("G");
  command->add_flag("--duplicates", options.duplicates, "only spans that came more than once");
  add_json(command, options);
  add_place(command, options);
}

}  // namespace runmain::cli
