// One request of HTTP/1.1, and who of the program's processes accepted it.
//
// Invariant: blocking with a deadline. The request's last line is held back until its acceptor is known, so
// that a server that answers and closes at once is caught in the act. Non-goal: bodies, redirects, TLS.
// Thread: one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/doctor_processes.hpp"
#include "base/time.hpp"
#include "doctor/evidence.hpp"

namespace runmain::app {

// `count` of them to port `port` of the loopback address of v4, or of v6 where only that answers; status 0:
// no answer by then. Their connections are open together, so that a worker that reads from one leaves the
// next to another worker; the requests themselves are completed one after the other. `pids`: who may have
// accepted them. The first one that cannot connect ends it: there are `count` requests or less, but one.
// `go_on`: asked about every 50 ms, false ends it.
std::vector<doctor::Request> ask(std::uint16_t port, const std::string& path, const std::vector<pid_t>& pids,
                                 std::size_t count, Duration limit, const std::function<bool()>& go_on);

// Asks until each process that could answer has, or often enough; who accepted is counted in `processes`.
// `requests` are added to. `go_on` is called before each round: false ends it.
void drive_requests(DoctorProcesses& processes, std::uint16_t port, const std::string& path,
                    std::vector<doctor::Request>& requests, const std::function<bool()>& go_on);

// How a collector at "http://host:4318/v1/traces" takes an empty request. Only whether anybody answers
// counts, not what.
doctor::Reach reach_of(const std::string& endpoint, Duration limit);

// "http://127.0.0.1:5000/users" to its parts; port 0: not given. False: it is none.
struct UrlParts {
  std::string scheme;
  std::string host;
  std::uint16_t port = 0;
  std::string path;
};
bool parse_url(std::string_view text, UrlParts& parts);

}  // namespace runmain::app
