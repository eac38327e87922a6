#include "doctor/finding.hpp"

namespace runmain::doctor {
namespace {

struct Words {
  const char* id;
  const char* title;
};

constexpr Words kWords[kCauses] = {
    {"double-init", "Telemetry is started twice in one process"},
    {"auto-and-manual", "The app is instrumented twice"},
    {"exporter-twice", "One provider exports each span twice"},
    {"reloader-both", "A process that does not serve starts telemetry, too"},
    {"preload-fork", "Telemetry is started before a fork, and lives on in the workers"},
    {"wrong-process", "Only a process that does not serve has telemetry"},
    {"too-late", "The app is instrumented after it was built"},
    {"nothing-instrumented", "A provider is set, and nothing makes spans"},
    {"shared-instance-id", "Several workers share one service.instance.id"},
    {"refused-after-fork", "Starting again after a fork is refused"},
    {"sigterm-swallowed", "SIGTERM does not end it"},
    {"lost-at-exit", "Spans that had ended are lost at the end"},
    {"dead-collector", "The collector is dead"},
    {"never-activated", "A span is begun and never made current"},
    {"never-ended", "A span is begun and never ended"},
    {"repeated-ids", "Processes repeat each other's ids"},
    {"sdk-and-injector", "An SDK of the program and one from outside are together"},
    {"no-telemetry", "No span comes from it"},
};

}  // namespace

const char* id_of(Cause cause) { return kWords[static_cast<std::size_t>(cause)].id; }
const char* title_of(Cause cause) { return kWords[static_cast<std::size_t>(cause)].title; }

const char* to_text(Sure sure) {
  switch (sure) {
    case Sure::possible: return "possible";
    case Sure::likely: return "likely";
    case Sure::sure: return "sure";
  }
  return "";
}

}  // namespace runmain::doctor
