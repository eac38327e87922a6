// What the server says. Edit pages.cpp while `runmain up` runs and ask again.
#pragma once

#include <chrono>

#include "http.hpp"

namespace hello {

struct Page {
  Answer answer;
  std::chrono::milliseconds delay{0};  // answer so much later
};

Page page_for(const Request& request);

}  // namespace hello
