#include "core/engine.hpp"

namespace runmain::core {
void Engine::operator()(const Frozen&) {}
void Engine::operator()(const Looked&) {}
}  // namespace runmain::core
