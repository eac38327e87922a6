// Where `logs --follow` goes on when the supervisor is replaced: a line is in its log before it is told, so
// the successor has what the dead one did not tell. It is asked for everything since the last line's
// millisecond; what was shown of that is left out here.
//
// Non-goal: a wall clock that is set back just then.
#pragma once

#include <map>
#include <string>

#include "control/protocol.hpp"

namespace runmain::cli {

class LogResume {
 public:
  LogResume();

  // False for an item that was shown before the last call of since().
  bool is_new(const control::Json& item);

  // For the verb's "since": RFC 3339 up to the milliseconds.
  std::string since();

 private:
  std::string last_;                  // time of the latest line
  std::map<std::string, int> shown_;  // lines of that time, and how often
  std::map<std::string, int> known_;  // those of shown_ that will come again
};

}  // namespace runmain::cli
