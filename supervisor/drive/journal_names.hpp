// The names of the core's enums in the journal. Order: the enum's. Additive only: journals are kept as tests.
#pragma once

#include "core/effect.hpp"
#include "core/event.hpp"
#include "drive/json_archive.hpp"

namespace runmain::drive {

template <>
inline constexpr std::array<const char*, 2> kEnumNames<core::Mode> = {"dev", "prod"};
template <>
inline constexpr std::array<const char*, 3> kEnumNames<core::RestartPolicy> = {"always", "on-failure",
                                                                               "never"};
template <>
inline constexpr std::array<const char*, 5> kEnumNames<core::ReadyKind> = {"automatic", "notify", "tcp",
                                                                           "http", "after"};
template <>
inline constexpr std::array<const char*, 4> kEnumNames<core::OnChange> = {"restart", "queue", "ignore",
                                                                          "signal"};
template <>
inline constexpr std::array<const char*, 4> kEnumNames<core::AddressKind> = {"tcp", "unix_path",
                                                                             "unix_abstract", "udp"};
template <>
inline constexpr std::array<const char*, 7> kEnumNames<core::Proof> = {
    "notify", "claim", "epoll", "probe", "listens", "elapsed", "unproven"};
template <>
inline constexpr std::array<const char*, 8> kEnumNames<core::SpawnStage> = {
    "none", "resources", "fork", "session", "limits", "user", "cwd", "exec"};
template <>
inline constexpr std::array<const char*, 8> kEnumNames<core::CommandVerb> = {
    "start", "stop", "restart", "reload", "signal", "shutdown", "scale", "upgrade"};
template <>
inline constexpr std::array<const char*, 2> kEnumNames<core::RollOrder> = {"new-first", "old-first"};
template <>
inline constexpr std::array<const char*, 2> kEnumNames<core::Balance> = {"shared", "reuseport"};
template <>
inline constexpr std::array<const char*, 4> kEnumNames<core::HealthKind> = {"none", "http", "tcp", "exec"};
template <>
inline constexpr std::array<const char*, 6> kEnumNames<core::Stall> = {
    "unknown", "starved", "stopped", "waiting", "busy", "uninterruptible"};

}  // namespace runmain::drive
