// "Did you mean …?" for names that a person typed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace runmain::control {

// The candidate that is nearest to `word` (edit distance with swaps, at most a third of the word's length and
// at most 3); empty if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// "did you mean \"web\"?", or "known: web, db", or empty if there is none at all.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace runmain::control
