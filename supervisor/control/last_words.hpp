// Who failed, where a service did: for the lines that tell a person why.
#pragma once

#include <optional>

#include "core/snapshot.hpp"

namespace runmain::control {

// The start that the latest failure in the history, not before `since`, is about: its generation, and its
// slot where one is known, else kNoSlot. The attempt is not told. Nothing: nothing has failed.
std::optional<ChildKey> failed_start(const core::ServiceView& service, Time since);

}  // namespace runmain::control
