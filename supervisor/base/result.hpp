// Result<T>: a value or an Error, shaped like std::expected, which g++ 12 does not have.
// Invariant: exactly one of the two is held. Non-goal: error hierarchies; one Error type serves every room.
#pragma once

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace runmain {

// What went wrong, in words for a person. `at` is the place ("file:line:column") or empty; `hint` says what
// to do next or is empty; `code` is an errno or 0.
struct Error {
  std::string message;
  std::string at{};
  std::string hint{};
  int code = 0;

  // "bind 127.0.0.1:80: Permission denied", with the errno kept in `code`.
  static Error from_errno(const std::string& what, int code) {
    return Error{what + ": " + std::strerror(code), {}, {}, code};
  }
  // One line: "at: message (hint)".
  std::string text() const {
    return (at.empty() ? "" : at + ": ") + message + (hint.empty() ? "" : " (" + hint + ")");
  }
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : held_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return held_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() { return std::get<0>(held_); }
  const T& value() const { return std::get<0>(held_); }
  const Error& error() const { return std::get<1>(held_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> held_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

}  // namespace runmain
