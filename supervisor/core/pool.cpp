#include "core/engine.hpp"

namespace runmain::core {
void Engine::operator()(const Drained&) {}
void Engine::operator()(const Requests&) {}
void Engine::operator()(const Measured&) {}
void Engine::operator()(const Room&) {}
void Engine::operator()(const Load&) {}
void Engine::operator()(const QueueEmpty&) {}
void Engine::operator()(const ListenerShut&) {}
}  // namespace runmain::core
