#pragma once

#include "ops/op_def.h"

namespace lowp::ops {

struct GemmAttrs {
  float alpha = 1.0F;
  float beta = 1.0F;
  bool trans_a = false;
  bool trans_b = false;
  bool operator==(const GemmAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("alpha", &GemmAttrs::alpha), ir::field("beta", &GemmAttrs::beta),
                      ir::field("transA", &GemmAttrs::trans_a), ir::field("transB", &GemmAttrs::trans_b));
  }
};

// Of lowp.MatMul: MatMul of operands of which the last two dimensions may be exchanged.
struct MatMulAttrs {
  bool trans_a = false;
  bool trans_b = false;
  bool operator==(const MatMulAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("trans_a", &MatMulAttrs::trans_a), ir::field("trans_b", &MatMulAttrs::trans_b));
  }
};

}  // namespace lowp::ops
