#include "app/browser.hpp"

#include <unistd.h>

#include <cerrno>

namespace runmain::app {

Result<void> Browser::open() {
  if (live_) return {};
  const keeper::OpenListener usual{"runmain|browser",
                                   static_cast<std::uint8_t>(core::AddressKind::tcp),
                                   "127.0.0.1",
                                   kUsualPort,
                                   "",
                                   true};
  auto opened = keeper_.open_listener(usual);
  if (!opened && opened.error().code == EADDRINUSE) {
    keeper::OpenListener any = usual;
    any.port = 0;
    opened = keeper_.open_listener(any);
  }
  if (!opened) return opened.error();
  if (!opened->fd) return Error{"the socket did not arrive"};
  if (auto set = os::set_nonblocking(opened->fd.get(), true); !set) return set;
  run_ = std::to_string(getppid()) + ":";
  script_ = "http://" + opened->opened.bound + "/live.js";
  live_ = std::make_unique<web::LiveReload>(loop_, std::move(opened->fd));
  return {};
}

void Browser::serves(ServiceId service, std::uint32_t generation) {
  serving_[service] = generation;
  if (!live_) return;
  std::string stamp = run_;
  for (const auto& [id, number] : serving_) stamp += std::to_string(number) + ".";
  live_->serves(stamp);
}

}  // namespace runmain::app
