// What the ops that exchange something between ranks share.
#pragma once

#include "ops/op_def.h"

namespace lowp::ops {

// How many ranks there are, and the form in which floats travel (base/communicator.h): "f32" or "bf16".
struct ExchangeAttrs {
  int64_t ranks = 1;
  std::string wire = "f32";
  bool operator==(const ExchangeAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("ranks", &ExchangeAttrs::ranks), ir::field("wire", &ExchangeAttrs::wire));
  }
  Status check() const {
    if (ranks < 1) return error(Code::kInvalidModel, "ranks is {}, 1 or more is wanted", ranks);
    if (wire != "f32" && wire != "bf16") return error(Code::kInvalidModel, "wire is '{}', f32 or bf16 is wanted", wire);
    return {};
  }
};

}  // namespace lowp::ops
