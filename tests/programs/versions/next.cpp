// The programs of the next version, as far as the states go that are handed on in an upgrade.
#include "base/named_archive.hpp"

namespace runmain {

std::uint32_t state_version() { return 2; }

}  // namespace runmain
