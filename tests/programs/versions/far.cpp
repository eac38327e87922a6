// The programs of a version that is too far away to be upgraded to.
#include "base/named_archive.hpp"

namespace runmain {

std::uint32_t state_version() { return 3; }

}  // namespace runmain
