#include "drive/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>

#include <mutex>

namespace runmain::drive {
namespace {

class LineSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit LineSink(std::function<void(std::string_view)> write) : write_(std::move(write)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t formatted;
    formatter_->format(message, formatted);
    write_(std::string_view(formatted.data(), formatted.size()));
  }
  void flush_() override {}

 private:
  std::function<void(std::string_view)> write_;
};

const char* colour_of(Tone tone) {
  switch (tone) {
    case Tone::good: return "\x1b[32m";
    case Tone::bad: return "\x1b[31m";
    case Tone::faint: return "\x1b[2m";
    case Tone::plain: return "";
  }
  return "";
}

}  // namespace

struct Log::Impl {
  std::shared_ptr<LineSink> sink;
  spdlog::logger logger;
  bool colour = false;
};

Log::Log(std::function<void(std::string_view)> write, bool times, bool colour) {
  auto sink = std::make_shared<LineSink>(std::move(write));
  sink->set_formatter(std::make_unique<spdlog::pattern_formatter>(
      times ? "%Y-%m-%dT%H:%M:%S.%eZ runmain | %v" : "runmain | %v", spdlog::pattern_time_type::utc, ""));
  impl_ = std::make_unique<Impl>(Impl{sink, spdlog::logger("runmain", sink), colour});
  impl_->logger.set_level(spdlog::level::trace);
}

Log::~Log() = default;

void Log::say(Tone tone, std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const auto level = tone == Tone::bad ? spdlog::level::err : spdlog::level::info;
    if (!impl_->colour || tone == Tone::plain) {
      impl_->logger.log(level, "{}", line);
    } else {
      impl_->logger.log(level, "{}{}\x1b[0m", colour_of(tone), line);
    }
  }
}

}  // namespace runmain::drive
