#include "base/named_archive.hpp"

namespace runmain {

bool reads_state_version(std::uint32_t version) {
  const std::uint32_t ours = state_version();
  return version + 1 >= ours && version <= ours + 1;
}

}  // namespace runmain
