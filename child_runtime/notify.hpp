// sd_notify(3): one datagram to NOTIFY_SOCKET. For what has no line on the channel, and for a program without
// one.
#pragma once

namespace runmain::child {

inline constexpr int kNotifyWaitMs = 2000;  // for room in a full socket, when the message must not be lost

// Sends `text` to `socket_name` ("/path" or "@abstract"). 0 or a negative errno; -EAGAIN: no room in time.
// `wait`: whether to wait for room. Raises no SIGPIPE. Thread: any.
int notify(const char* socket_name, const char* text, bool wait);

}  // namespace runmain::child
