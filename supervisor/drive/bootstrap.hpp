// What lets telemetry into programs of Python and Node that nobody changed: two of runmain's shared files,
// which the interpreters load at their start because PYTHONPATH and NODE_OPTIONS say so.
//
// Invariant: a file is named only if it is there, for Node ends where it shall load one that is not. The
// folder is found by where the running executable is, so no path of a build is in an installed one. What a
// user has set is kept. Non-goal: what these files do (child_runtime/python, child_runtime/node). Thread:
// any.
#pragma once

#include <string>
#include <string_view>

namespace runmain::drive {

struct Bootstrap {
  std::string python;            // a folder for PYTHONPATH; empty: none
  std::string node;              // a file for --require; empty: none
  bool others_can_read = false;  // a service with another user may have them, too
  std::string python_probe{};    // the same two for `runmain doctor` (docs/doctor-records.md)
  std::string node_probe{};

  bool empty() const { return python.empty() && node.empty(); }
};

// In SHARE, such as /usr/share/runmain: python/bootstrap and node/register.js, python/probe and
// node/probe.js.
Bootstrap bootstrap_in(const std::string& share);

// Where it is named and where it is, by the modes of all folders on the way.
bool anyone_can_read(const std::string& file);

// Of an executable in /usr/bin or /usr/libexec/runmain: /usr/share/runmain. Empty: there is none.
std::string share_of(const std::string& executable);

// Of this process.
Bootstrap find_bootstrap();

// PYTHONPATH with our folder first, before a sitecustomize of the user's.
std::string with_python(std::string_view value, const std::string& folder);
// Whether words of Node's name its permission model: it could not read our file, and would not start.
bool restricts_node(std::string_view words);
// NODE_OPTIONS with our file last. Node itself refuses a quote that is never closed: that stays as it is, and
// so does one that restricts what may be read.
std::string with_node(std::string_view value, const std::string& file);
// The same with our file first.
std::string with_node_first(std::string_view value, const std::string& file);

// Whether a folder of PYTHONPATH, or a file of --require, is a runmain's, this one's or that one's in which
// we run.
bool is_bootstrap_folder(std::string_view folder);
bool is_bootstrap_file(std::string_view file);

}  // namespace runmain::drive
