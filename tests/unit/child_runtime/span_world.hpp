// A child process with a mailbox of the test's own, in which spans are made.
#pragma once

#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "child_runtime/trace.hpp"
#include "fakes.hpp"
#include "support/mailbox_reader.hpp"

namespace fakes {

// The variables that tests set go with the child.
using Variables = std::vector<std::pair<const char*, const char*>>;

inline bool attach(const otlp::TestMailbox& mailbox) {
  return runmain_mailbox_attach(mailbox.memfd(), mailbox.wake()) == 0;
}

// What `body` returns, with the mailbox attached before.
inline std::string in_child(const otlp::TestMailbox& mailbox, const std::function<std::string()>& body,
                            const Variables& variables = {}) {
  Child child([&] {
    for (const auto& [name, value] : variables) setenv(name, value, 1);
    return attach(mailbox) ? body() : std::string("not attached");
  });
  return child.finish();
}

// The spans that `body` makes.
inline std::vector<otlp::Span> spans_of(otlp::TestMailbox& mailbox, const std::function<void()>& body,
                                        const Variables& variables = {}) {
  const std::string result = in_child(
      mailbox,
      [&] {
        body();
        return std::string();
      },
      variables);
  if (!result.empty()) return {};
  return mailbox.read_all();
}

inline const otlp::Span* find(const std::vector<otlp::Span>& spans, const std::string& name) {
  for (const otlp::Span& span : spans) {
    if (span.name == name) return &span;
  }
  return nullptr;
}

}  // namespace fakes
