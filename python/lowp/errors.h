// From Status to Python's exceptions.
#pragma once

#include <nanobind/nanobind.h>

#include <stdexcept>
#include <string>

#include "base/status.h"

namespace lowp::python {

// Translated to the class of lowp.errors with this code.
class StatusError : public std::runtime_error {
 public:
  StatusError(std::string code, const std::string& message) : runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

// Needs the GIL no more than any throw does.
[[noreturn]] void throw_status(const Status& status);

inline void check(const Status& status) {
  if (!status.is_ok()) throw_status(status);
}
template <typename T>
T value_or_throw(Result<T> result) {
  if (!result) throw_status(result.error());
  return std::move(*result);
}

}  // namespace lowp::python
