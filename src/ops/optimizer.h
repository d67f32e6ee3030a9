// What the steps of optimizers share, dense (optimizer.cc) and for rows of a table (sparse_optimizer.cc).
#pragma once

#include "ops/op_def.h"

namespace lowp::ops {

// Operands of all of them.
inline constexpr size_t kWeight = 0, kGradient = 1, kRate = 2, kScale = 3, kNonfinite = 4;

struct SgdAttrs {
  float momentum = 0;
  float weight_decay = 0;
  float rate_factor = 1;  // of this parameter's learning rate
  bool nesterov = false;
  bool operator==(const SgdAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("momentum", &SgdAttrs::momentum), ir::field("weight_decay", &SgdAttrs::weight_decay),
                      ir::field("rate_factor", &SgdAttrs::rate_factor), ir::field("nesterov", &SgdAttrs::nesterov));
  }
};
struct AdamAttrs {
  std::string rule = "adam";  // or adamw, lamb
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-8F;
  float weight_decay = 0;
  float rate_factor = 1;
  bool operator==(const AdamAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("rule", &AdamAttrs::rule), ir::field("beta1", &AdamAttrs::beta1),
                      ir::field("beta2", &AdamAttrs::beta2), ir::field("epsilon", &AdamAttrs::epsilon),
                      ir::field("weight_decay", &AdamAttrs::weight_decay),
                      ir::field("rate_factor", &AdamAttrs::rate_factor));
  }
};

// 1 - beta^step by repeated multiplication: the same on every machine, unlike pow().
inline double correction(double beta, int64_t step) {
  double power = 1;
  for (double factor = beta; step > 0; step >>= 1, factor *= factor) {
    if ((step & 1) != 0) power *= factor;
  }
  return 1 - power;
}

inline Status check_step(int64_t step) {
  return step >= 1 ? Status() : error(Code::kInvalidArgument, "the step is {}, 1 or more is wanted", step);
}

// What both steps read when they run.
struct StepScalars {
  float rate = 0, scale = 1;
  bool skipped = false;
};
inline StepScalars read_scalars(const StepArgs& s, bool has_scale, bool has_nonfinite, float factor) {
  StepScalars r;
  r.rate = *s.in<float>(kRate) * factor;
  if (has_scale) r.scale = *s.in<float>(kScale);
  r.skipped = has_nonfinite && *s.in<int64_t>(kNonfinite) >= 0;
  return r;
}

}  // namespace lowp::ops
