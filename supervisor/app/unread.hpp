// The rings of a keeper that was killed: what is in them, exactly. Invariant: only bytes that a child has
// written are handed on. Non-goal: the bytes that are still in the children's pipes; they stay there.
#pragma once

#include <vector>

#include "keeper/adoption.hpp"
#include "keeper/board.hpp"

namespace runmain::app {

inline constexpr std::size_t kUnreadMax = 8U << 20U;  // bytes of all rings together

// Takes account of what the keeper moved in the moment of its death. Requires that it is gone. `cursor` is
// that of Welcome; -1: nothing is known.
void settle_moved(keeper::Board& board, int cursor);

// What nobody has consumed, ring by ring.
std::vector<keeper::Unread> unread_in(const keeper::Board& board, int rings);

}  // namespace runmain::app
