#include "base/status.h"

namespace lowp {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kInvalidArgument: return "invalid-argument";
    case Code::kInvalidModel: return "invalid-model";
    case Code::kUnsupported: return "unsupported";
    case Code::kShapeMismatch: return "shape-mismatch";
    case Code::kTypeMismatch: return "type-mismatch";
    case Code::kNotFound: return "not-found";
    case Code::kIo: return "io";
    case Code::kCorrupt: return "corrupt";
    case Code::kVersion: return "version";
    case Code::kCalibration: return "calibration";
    case Code::kResource: return "resource";
    case Code::kCancelled: return "cancelled";
    case Code::kInternal: return "internal";
  }
  return "unknown";
}

std::string Status::to_string() const {
  if (is_ok()) return "ok";
  std::string text = fmt::format("{}: ", code_name(code_));
  if (!node_.empty()) text += fmt::format("node '{}': ", node_);
  text += message_;
  if (!hint_.empty()) text += fmt::format(" ({})", hint_);
  return text;
}

void throw_internal(const char* condition, const char* file, int line) {
  throw InternalError(fmt::format("{}:{}: broken invariant: {}", file, line, condition));
}

}  // namespace lowp
