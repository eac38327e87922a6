// Which room may include what: the table of supervisor/README.md in a form that a test can read.
#pragma once

#include <string>
#include <vector>

namespace runmain::rooms {

struct Rule {
  std::string room;               // folder from the top, with a slash at its end
  std::vector<std::string> ours;  // folders ("base/") and single headers that it may include
  std::vector<std::string>
      others;  // what it may include in < > beyond the C and C++ libraries and the system
};

// A file belongs to the first room whose folder it is in. Its own room is always allowed.
inline const std::vector<Rule>& rules() {
  static const std::vector<Rule> all{
      {"supervisor/base/", {}, {}},
      {"supervisor/core/", {"base/"}, {}},
      {"supervisor/config/", {"base/", "core/spec.hpp"}, {"toml++/"}},
      {"supervisor/os/linux/", {"base/"}, {}},
      {"supervisor/os/loop/", {"base/"}, {"uv.h"}},
      {"supervisor/keeper/", {"base/", "os/linux/", "child_runtime/mailbox_format.h"}, {}},
      {"supervisor/drive/",
       {"base/", "core/spec.hpp", "core/telemetry_spec.hpp", "core/event.hpp", "core/effect.hpp",
        "core/snapshot.hpp", "os/", "keeper/protocol.hpp", "keeper/board.hpp", "child_runtime/protocol.h"},
       {"nlohmann/", "spdlog/"}},
      {"supervisor/control/",
       {"base/", "core/spec.hpp", "core/event.hpp", "core/effect.hpp", "core/snapshot.hpp", "os/"},
       {"nlohmann/"}},
      {"supervisor/web/", {"base/", "os/"}, {}},
      {"supervisor/telemetry/",
       {"base/", "core/effect.hpp", "os/", "child_runtime/mailbox.h", "child_runtime/mailbox_writer.hpp"},
       {"nlohmann/", "protozero/", "curl/", "zlib.h"}},
      // up hands fds on, check, dev and up make the configuration, replay feeds a journal to the machine,
      // explain asks the watcher's rules where no head runs.
      {"supervisor/cli/",
       {"base/", "control/client.hpp", "control/line_connection.hpp", "control/protocol.hpp",
        "control/paths.hpp", "control/instance.hpp", "control/suggest.hpp", "config/config.hpp",
        "config/flags.hpp", "config/runners.hpp", "core/", "drive/journal.hpp", "drive/watch_explain.hpp",
        "os/linux/fd.hpp", "os/linux/cpus.hpp", "os/linux/sockets.hpp"},
       {"CLI/", "nlohmann/"}},
      {"supervisor/doctor/", {"base/"}, {"nlohmann/"}},
      {"supervisor/graceful/", {"base/"}, {"nlohmann/"}},
      {"supervisor/app/",
       {"base/", "core/", "config/", "os/", "keeper/", "drive/", "control/", "web/", "cli/", "telemetry/",
        "doctor/", "graceful/", "child_runtime/"},
       {"nlohmann/"}},
      {"child_runtime/", {}, {}},
  };
  return all;
}

// Libraries that only the named rooms may use; whatever else is in < > is the system's.
inline const std::vector<std::string>& guarded_libraries() {
  static const std::vector<std::string> all{"uv.h",    "uv/",   "toml++/",   "toml.hpp",
                                            "spdlog/", "fmt/",  "nlohmann/", "CLI/",
                                            "catch2/", "curl/", "zlib.h",    "protozero/"};
  return all;
}

}  // namespace runmain::rooms
