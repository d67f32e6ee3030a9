// Errors that are expected: a bad model, shape, file or argument.
//
// Functions that can fail in an expected way return Status or Result<T>. A Status has a stable code, a message that
// gives both values, and where they apply the node it concerns and what the user can do about it. Broken invariants
// throw InternalError, which is caught at the borders (C API, command, Python).
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "tl/expected.hpp"

namespace lowp {

// Stable: numbers and names are part of the C API and of --json output. Append only.
enum class Code : int {
  kOk = 0,
  kInvalidArgument = 1,  // an option or argument makes no sense
  kInvalidModel = 2,     // the model breaks the rules of its format
  kUnsupported = 3,      // valid, but lowp cannot do it
  kShapeMismatch = 4,    // a tensor's rank or extents are not what is wanted
  kTypeMismatch = 5,     // a tensor's dtype is not what is wanted
  kNotFound = 6,         // a file or name does not exist
  kIo = 7,               // the operating system refused (disk full, permissions)
  kCorrupt = 8,          // a file is damaged: checksum, truncation, offsets
  kVersion = 9,          // a file was written by a newer lowp
  kCalibration = 10,     // calibration data are missing, empty or not finite
  kResource = 11,        // memory or another limit is exhausted
  kCancelled = 12,       // the caller asked to stop
  kInternal = 13,        // a bug in lowp
};

// "shape-mismatch" and the like; stable.
std::string_view code_name(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status ok() { return {}; }
  bool is_ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& node() const { return node_; }
  const std::string& hint() const { return hint_; }

  // Names the node the error concerns; the innermost name wins.
  Status&& with_node(std::string_view node) && {
    if (node_.empty()) node_ = node;
    return std::move(*this);
  }
  // What the user can do.
  Status&& with_hint(std::string hint) && {
    if (hint_.empty()) hint_ = std::move(hint);
    return std::move(*this);
  }
  // Puts "context: " in front of the message.
  Status&& with_context(std::string_view context) && {
    message_ = fmt::format("{}: {}", context, message_);
    return std::move(*this);
  }
  // "shape-mismatch: Conv 'conv1': input has 4 channels, weight wants 3 (try ...)"
  std::string to_string() const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
  std::string node_;
  std::string hint_;
};

template <typename T>
using Result = tl::expected<T, Status>;

template <typename... Args>
Status error(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return Status(code, fmt::format(format, std::forward<Args>(args)...));
}

// For Result<T>: `return fail(Code::kIo, "...", ...)`.
template <typename... Args>
tl::unexpected<Status> fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Status>(Status(code, fmt::format(format, std::forward<Args>(args)...)));
}
inline tl::unexpected<Status> fail(Status status) { return tl::unexpected<Status>(std::move(status)); }

// A broken invariant: a bug in lowp, never the user's fault.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void throw_internal(const char* condition, const char* file, int line);

}  // namespace lowp

#define LOWP_CHECK(condition)                                                 \
  do {                                                                        \
    if (!(condition)) ::lowp::throw_internal(#condition, __FILE__, __LINE__); \
  } while (false)

// Returns the error of a Status expression from a function that returns Status or Result.
#define LOWP_TRY(expression)                                               \
  do {                                                                     \
    if (::lowp::Status lowp_status_ = (expression); !lowp_status_.is_ok()) \
      return ::lowp::detail::Propagate{std::move(lowp_status_)};           \
  } while (false)

#define LOWP_CONCAT_(a, b) a##b
#define LOWP_CONCAT(a, b) LOWP_CONCAT_(a, b)

// LOWP_ASSIGN(auto x, f()): x = value of the Result f(), or returns its error.
#define LOWP_ASSIGN(declaration, expression) LOWP_ASSIGN_(LOWP_CONCAT(lowp_result_, __LINE__), declaration, expression)
#define LOWP_ASSIGN_(result, declaration, expression)                       \
  auto result = (expression);                                               \
  if (!result) return ::lowp::detail::Propagate{std::move(result.error())}; \
  declaration = std::move(*result)

namespace lowp::detail {
// Converts to Status and to any Result<T>, so that one macro serves both.
struct Propagate {
  Status status;
  operator Status() && { return std::move(status); }  // NOLINT(google-explicit-constructor)
  template <typename T>
  operator Result<T>() && {  // NOLINT(google-explicit-constructor)
    return tl::unexpected<Status>(std::move(status));
  }
};
}  // namespace lowp::detail
