// A pool that rolls gradually, and a scene in which it serves.
#pragma once

#include "script.hpp"

namespace runmain::core {

inline ServiceSpec pool(std::uint32_t workers) {
  ServiceSpec spec = service("web", workers);
  spec.roll.gradual = true;
  spec.roll.memory_guard = false;
  spec.roll.hold_last = Duration::zero();
  return spec;
}

inline Scene serving(const ServiceSpec& spec) {
  Scene s;
  s.configure({spec}, Mode::prod);
  for (std::uint32_t slot = 0; slot < spec.workers; ++slot) s.serve({0, slot, 1, 1});
  return s;
}

}  // namespace runmain::core
