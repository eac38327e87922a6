// The folder in which what a destination has not taken waits on disk, and to which runmain it belongs: state
// folders may be shared by several (another runtime folder, or one that ends while the next begins).
//
// Invariant: who holds a folder is the only one that reads and writes there, until it lets go or dies; the
// next one takes up what nobody holds. A destination has as many folders as there are runmains at a time,
// "NAME", "NAME.2", … up to kFoldersMax. Source: flock(2). Non-goal: network filesystems without locks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "os/linux/fd.hpp"
#include "telemetry/observer_config.hpp"

namespace runmain::telemetry {

inline constexpr int kFoldersMax = 16;

// What makes a destination another one. The name is no secret and gives none away: variables may have keys.
std::string folder_name(const ObserverDestination& destination);
// Whether a folder of this name is one of those that folder_name() calls `base`.
bool is_folder_of(const std::string& name, const std::string& base);

struct HeldFolder {
  std::string name;
  std::string path;
  os::UniqueFd lock;  // while it is open, the folder is ours
};

// The first of the destination's folders in `parent` that nobody else has, made if it is not there. It says
// what it is of, for hold_left(). On failure why there is none.
Result<HeldFolder> hold_folder(const std::string& parent, const ObserverDestination& destination);

struct LeftFolder {
  HeldFolder folder;
  ObserverDestination destination;
};
// A folder that was left behind. Nothing: it is none, or somebody has it. `named`: one of these it may be of
// where it does not say so itself, as the disk was full.
std::optional<LeftFolder> hold_left(const std::string& parent, const std::string& name,
                                    const std::vector<ObserverDestination>& named);

// Removes it with what is in it, its lock last, and lets go.
void remove_folder(HeldFolder& folder);

}  // namespace runmain::telemetry
