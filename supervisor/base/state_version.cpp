// In a file of its own, so that a test can link programs of other versions.
#include "base/named_archive.hpp"

namespace runmain {

// To be raised when a field gets another meaning, or what was written before cannot be read any more.
std::uint32_t state_version() { return 1; }

}  // namespace runmain
