// The OTLP/HTTP receiver on a free port, for otlp_clients.py. Prints
//   ready PORT TOKEN TOKEN                        of two workers
//   request SIGNAL WORKER CONNECTION ITEMS INVALID
//   item JSON                                     each one that is no duplicate
//   note TEXT                                     of the finder of duplicates
//   counters REQUESTS FULL NO_TOKEN FOREIGN_TOKEN REFUSED BAD_HTTP BAD_DATA
// and reads: "full N" (the next N requests find no room, answered by "ok"), "counters". Ends with its stdin.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <iostream>
#include <string>

#include "base/identity.hpp"
#include "telemetry/duplicates.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/receiver.hpp"

using namespace runmain;
using namespace runmain::telemetry;

namespace {

const std::string kSecret = "0123456789abcdef";

os::UniqueFd listener(std::uint16_t& port) {
  os::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd.get(), SOMAXCONN) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::cerr << "no port\n";
    _exit(1);
  }
  port = ntohs(address.sin_port);
  return fd;
}

std::string name_of(const ChildKey& worker) { return worker.text(); }

class Program {
 public:
  Program()
      : receiver_(loop_, listener(port_), kSecret,
                  [this](const Received& r, const std::function<void()>& saved) { return take(r, saved); }),
        finder_(kSecret) {
    commands_ = loop_.poll(STDIN_FILENO, os::kReadable, [this](int) { read_commands(); });
  }
  void run() {
    std::cout << "ready " << port_;
    for (const std::uint32_t slot : {0U, 1U}) {
      std::cout << " " << otlp_token(kSecret, ChildKey{ServiceId{1}, slot, 4, 1});
    }
    std::cout << std::endl;
    loop_.run();
  }

 private:
  Taken take(const Received& r, const std::function<void()>& saved) {
    if (full_ > 0) {
      --full_;
      return Taken::full;
    }
    static constexpr const char* kNames[] = {"traces", "metrics", "logs"};
    std::cout << "request " << kNames[static_cast<std::size_t>(r.signal)] << " " << name_of(r.worker) << " "
              << r.connection << " " << r.items.size() << " " << r.invalid << "\n";
    for (const Item& item : r.items) {
      if (r.signal == Signal::traces &&
          finder_.look(r.worker, {r.connection, r.request}, item).is_duplicate()) {
        continue;
      }
      const auto json = to_json(item_message(r.signal), item.bytes);
      std::cout << "item " << (json ? *json : json.error().message) << "\n";
    }
    for (const DuplicateNote& note : finder_.take_notes()) {
      std::cout << "note " << to_text(note, name_of(note.worker), name_of(note.tally.other_child)) << "\n";
    }
    std::cout << std::flush;
    saved();
    return Taken::ok;
  }

  void read_commands() {
    char buffer[256];
    const ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
    if (n <= 0) return loop_.stop();
    in_.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t end = 0; (end = in_.find('\n')) != std::string::npos; in_.erase(0, end + 1)) {
      const std::string line = in_.substr(0, end);
      if (line.starts_with("full ")) {
        full_ = std::stoi(line.substr(5));
        std::cout << "ok" << std::endl;
      } else if (line == "counters") {
        const ReceiverCounters& c = receiver_.counters();
        std::cout << "counters " << c.requests << " " << c.full << " " << c.no_token << " " << c.foreign_token
                  << " " << c.refused << " " << c.bad_http << " " << c.bad_data << std::endl;
      }
    }
  }

  os::Loop loop_;
  std::uint16_t port_ = 0;
  Receiver receiver_;
  Duplicates finder_;
  std::unique_ptr<os::Poll> commands_;
  std::string in_;
  int full_ = 0;
};

}  // namespace

int main() {
  Program program;
  program.run();
  return 0;
}
