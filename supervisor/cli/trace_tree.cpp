#include "cli/trace_tree.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "cli/age.hpp"
#include "cli/terminal.hpp"

namespace runmain::cli {
namespace {

using control::Json;
using control::text_of;

constexpr std::size_t kBar = 16;            // columns
constexpr std::size_t kBarFrom = 80;        // a narrower terminal has no room for bars
constexpr std::size_t kDuration = 8;        // columns of a span's time
constexpr std::size_t kNameMax = 48;        // … of tree and name
constexpr std::size_t kValueMax = 60;       // … of an attribute's value
constexpr std::size_t kSmallTerminal = 60;  // there names are shorter
constexpr std::size_t kNameMaxSmall = 28;

// A whole number, also one that is written as text, as OTLP's JSON does.
std::int64_t nanoseconds_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return 0;
  if (found->is_number_unsigned()) {
    return static_cast<std::int64_t>(
        std::min<std::uint64_t>(found->get<std::uint64_t>(), std::numeric_limits<std::int64_t>::max()));
  }
  if (found->is_number_integer()) return std::max<std::int64_t>(0, found->get<std::int64_t>());
  if (!found->is_string()) return 0;
  std::int64_t number = 0;
  for (const char c : found->get<std::string>()) {
    if (c < '0' || c > '9' || number > std::numeric_limits<std::int64_t>::max() / 10 - 1) return 0;
    number = number * 10 + (c - '0');
  }
  return number;
}

TraceSpan::Status status_of(const Json& object) {
  const auto found = object.find("status");
  if (found == object.end()) return TraceSpan::Status::unset;
  const std::int64_t number = found->is_number_integer() ? found->get<std::int64_t>() : 0;
  const std::string word = found->is_string() ? found->get<std::string>() : std::string();
  if (number == 2 || word == "error") return TraceSpan::Status::error;
  return number == 1 || word == "ok" ? TraceSpan::Status::ok : TraceSpan::Status::unset;
}

// A line of the tree: which span, what is drawn before its name, and what is to be known of it.
struct Row {
  std::size_t span = 0;
  std::string branch;
  std::string mark;
};

// The order in which the spans of a trace are drawn.
class Tree {
 public:
  explicit Tree(const std::vector<TraceSpan>& spans) : spans_(spans), drawn_(spans.size()) {
    for (std::size_t i = 0; i < spans.size(); ++i) order_.push_back(i);
    std::stable_sort(order_.begin(), order_.end(),
                     [&](std::size_t a, std::size_t b) { return spans[a].start_ns < spans[b].start_ns; });
    for (const std::size_t i : order_) first_.emplace(spans[i].span_id, i);
    for (const std::size_t i : order_) {
      if (!is_root(i)) children_[spans[i].parent_span_id].push_back(i);
    }
  }

  std::vector<Row> rows() {
    for (const std::size_t i : order_) {
      if (is_root(i)) walk(i, is_orphan(i) ? "(parent unknown)" : "");
    }
    // What no root leads to is in a circle, or below one.
    for (const std::size_t i : order_) {
      if (!drawn_[i]) walk(circle_above(i), "(its parents are a circle)");
    }
    return std::move(rows_);
  }

 private:
  bool is_orphan(std::size_t i) const {
    const std::string& parent = spans_[i].parent_span_id;
    return !parent.empty() && first_.count(parent) == 0;
  }
  bool is_root(std::size_t i) const { return spans_[i].parent_span_id.empty() || is_orphan(i); }

  std::size_t parent_of(std::size_t i) const { return first_.at(spans_[i].parent_span_id); }

  // The earliest span of the circle that this one's parents lead to.
  std::size_t circle_above(std::size_t i) const {
    std::unordered_set<std::size_t> seen;
    while (seen.insert(i).second) i = parent_of(i);
    std::size_t earliest = i;
    for (std::size_t at = parent_of(i); at != i; at = parent_of(at)) {
      if (spans_[at].start_ns < spans_[earliest].start_ns) earliest = at;
    }
    return earliest;
  }

  struct Step {
    std::size_t span = 0;
    std::string before;  // what the parent has left of it
    std::size_t depth = 0;
    bool last = true;
  };

  void walk(std::size_t root, const std::string& mark) {
    std::vector<Step> stack{{root, "", 0, true}};
    while (!stack.empty()) {
      const Step step = std::move(stack.back());
      stack.pop_back();
      if (drawn_[step.span]) continue;
      drawn_[step.span] = true;
      const bool is_top = step.depth == 0;
      rows_.push_back(
          {step.span, is_top ? "" : step.before + (step.last ? "└─ " : "├─ "), is_top ? mark : ""});
      const TraceSpan& span = spans_[step.span];
      const bool is_first = first_.at(span.span_id) == step.span;
      if (span.duplicate || !is_first) {
        std::string& own = rows_.back().mark;
        own += own.empty() ? "(duplicate)" : " (duplicate)";
      }
      if (!is_first) continue;  // its children are those of the first one
      const auto children = children_.find(span.span_id);
      if (children == children_.end()) continue;
      const bool deeper = step.depth + 1 < kDepthShown;
      std::string before = step.before;
      if (!is_top && deeper) before += step.last ? "   " : "│  ";
      for (auto child = children->second.rbegin(); child != children->second.rend(); ++child)
        stack.push_back({*child, before, deeper ? step.depth + 1 : step.depth + (is_top ? 1 : 0),
                         child == children->second.rbegin()});
    }
  }

  const std::vector<TraceSpan>& spans_;
  std::vector<std::size_t> order_;  // by start
  std::vector<bool> drawn_;
  std::unordered_map<std::string, std::size_t> first_;  // by span id
  std::unordered_map<std::string, std::vector<std::size_t>> children_;
  std::vector<Row> rows_;
};

// A line that is put together piece by piece and is never wider than the terminal.
class LineOfPieces {
 public:
  LineOfPieces(bool colour, std::size_t width) : colour_(colour), width_(width) {}

  void add(const std::string& text, Style style = Style::plain) {
    if (width_ != 0 && used_ >= width_) return;
    const std::string cut = cut_to(text, width_ == 0 ? 0 : width_ - used_);
    used_ += columns_of(cut);
    // Blanks at the end of a line are for nobody.
    const std::size_t end = cut.find_last_not_of(' ') + 1;
    if (end > 0) {
      text_ += blanks_ + styled(cut.substr(0, end), style, colour_);
      blanks_.clear();
    }
    blanks_ += std::string(cut.size() - end, ' ');
  }
  std::string take() { return std::move(text_) + "\n"; }

 private:
  bool colour_;
  std::size_t width_;
  std::size_t used_ = 0;
  std::string text_;
  std::string blanks_;
};

std::string padded(const std::string& text, std::size_t width, bool to_the_right = false) {
  const std::string space(width - std::min(width, columns_of(text)), ' ');
  return to_the_right ? space + text : text + space;
}

struct Frame {
  std::int64_t start = 0;
  std::int64_t end = 0;
};

Frame frame_of(const std::vector<TraceSpan>& spans) {
  Frame frame{spans.front().start_ns, spans.front().end_ns};
  for (const TraceSpan& span : spans) {
    frame.start = std::min(frame.start, span.start_ns);
    frame.end = std::max({frame.end, span.end_ns, span.start_ns});
  }
  return frame;
}

// When in the trace it was.
std::string bar_of(const TraceSpan& span, const Frame& frame) {
  const double whole = std::max(1.0, static_cast<double>(frame.end - frame.start));
  const auto column = [&](std::int64_t at) {
    const double part = static_cast<double>(at - frame.start) / whole;
    return static_cast<std::size_t>(std::clamp(part, 0.0, 1.0) * kBar);
  };
  const std::size_t begin = std::min(column(span.start_ns), kBar - 1);
  const std::size_t end = std::clamp(column(span.end_ns), begin + 1, kBar);
  std::string bar(begin, ' ');
  for (std::size_t i = begin; i < end; ++i) bar += "━";
  return padded(bar, kBar);
}

std::string time_of_day(std::int64_t ns) {
  const auto seconds = static_cast<std::time_t>(ns / 1'000'000'000);
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[32];
  const std::size_t n = std::strftime(text, sizeof text, "%H:%M:%S", &local);
  char more[8];
  std::snprintf(more, sizeof more, ".%03d", static_cast<int>(ns / 1'000'000 % 1000));
  return std::string(text, n) + more;
}

std::string title(const std::vector<TraceSpan>& spans, const Frame& frame) {
  const auto errors = std::count_if(spans.begin(), spans.end(), [](const TraceSpan& span) {
    return span.status == TraceSpan::Status::error;
  });
  return "trace " + in_one_line(spans.front().trace_id) + "  " + time_of_day(frame.start) + "  " +
         span_time(frame.end - frame.start) + "  " + std::to_string(spans.size()) +
         (spans.size() == 1 ? " span" : " spans") +
         (errors == 0 ? "" : ", " + std::to_string(errors) + (errors == 1 ? " error" : " errors"));
}

std::string who(const TraceSpan& span) {
  return in_one_line(span.service) + "." + std::to_string(span.slot) + "@" + std::to_string(span.generation);
}

void add_status(LineOfPieces& line, const Row& row, const TraceSpan& span) {
  if (span.status == TraceSpan::Status::ok) line.add("  ok", Style::green);
  if (span.status == TraceSpan::Status::error)
    line.add("  error" + (span.status_message.empty() ? "" : ": " + in_one_line(span.status_message)),
             Style::red);
  if (span.reconstructed) line.add("  (its process ended)", Style::yellow);
  if (!row.mark.empty()) line.add("  " + row.mark, Style::yellow);
}

}  // namespace

std::optional<TraceSpan> span_of(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  TraceSpan span;
  span.trace_id = text_of(json, "trace_id");
  span.span_id = text_of(json, "span_id");
  if (span.trace_id.empty() || span.span_id.empty()) return std::nullopt;
  span.parent_span_id = text_of(json, "parent_span_id", text_of(json, "parent_id"));
  span.name = text_of(json, "name");
  span.start_ns = nanoseconds_of(json, "start_unix_nano");
  span.end_ns = nanoseconds_of(json, "end_unix_nano");
  span.status = status_of(json);
  span.status_message = text_of(json, "status_message", text_of(json, "status_text"));
  span.service = text_of(json, "service");
  span.slot = control::number_of(json, "slot");
  span.generation = control::number_of(json, "generation");
  span.reconstructed = control::flag_of(json, "reconstructed");
  span.duplicate = control::flag_of(json, "duplicate");
  span.attributes_left_out = control::number_of(json, "attributes_left_out");
  const auto attributes = json.find("attributes");
  if (attributes == json.end() || !attributes->is_object()) return span;
  for (const auto& [key, value] : attributes->items()) {
    if (span.attributes.size() >= kAttributesShown) {
      ++span.attributes_left_out;
      continue;
    }
    span.attributes.emplace_back(key, value.is_string() ? value.get<std::string>() : control::to_line(value));
  }
  return span;
}

std::string span_time(std::int64_t ns) {
  if (ns < 0) return "0 ns";
  if (ns < 1000) return std::to_string(ns) + " ns";
  if (ns < 1'000'000) return std::to_string(ns / 1000) + " µs";
  return age_text(ns / 1'000'000);
}

std::string trace_tree(const std::vector<TraceSpan>& spans, bool colour, std::size_t width) {
  const Frame frame = frame_of(spans);
  std::vector<Row> rows = Tree(spans).rows();
  const std::size_t more = rows.size() - std::min(rows.size(), kSpansShown);
  rows.resize(rows.size() - more);
  const bool bars = width == 0 || width >= kBarFrom;
  const std::size_t name_max = width != 0 && width < kSmallTerminal ? kNameMaxSmall : kNameMax;
  std::vector<std::string> names;
  std::size_t name_width = 0;
  std::size_t who_width = 0;
  for (const Row& row : rows) {
    names.push_back(cut_to(row.branch + in_one_line(spans[row.span].name), name_max));
    name_width = std::max(name_width, columns_of(names.back()));
    who_width = std::max(who_width, columns_of(who(spans[row.span])));
  }
  LineOfPieces head(colour, width);
  head.add(title(spans, frame), Style::bold);
  std::string text = head.take();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const TraceSpan& span = spans[rows[i].span];
    const bool failed = span.status == TraceSpan::Status::error;
    LineOfPieces line(colour, width);
    if (bars) line.add("  " + bar_of(span, frame), failed ? Style::red : Style::cyan);
    line.add("  " + padded(span_time(span.end_ns - span.start_ns), kDuration, true));
    line.add("  " + padded(names[i], name_width), failed ? Style::red : Style::plain);
    line.add("  " + padded(who(span), who_width), Style::dim);
    add_status(line, rows[i], span);
    for (const auto& [key, value] : span.attributes)
      line.add("  " + in_one_line(key) + "=" + cut_to(in_one_line(value), kValueMax), Style::dim);
    if (span.attributes_left_out > 0)
      line.add("  and " + std::to_string(span.attributes_left_out) + " more", Style::dim);
    text += line.take();
  }
  if (more > 0) text += "  and " + std::to_string(more) + (more == 1 ? " span more\n" : " spans more\n");
  return text;
}

}  // namespace runmain::cli
