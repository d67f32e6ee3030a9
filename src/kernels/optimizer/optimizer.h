// Steps of optimizers on one parameter of n elements, in f32 (master weights), and the norm of its gradient.
//
// g is the gradient times `gradient_scale`, which undoes loss scaling and clips. Outputs may be the inputs (in place).
// Every step of a formula is rounded once, fma only where written; threads never change a bit.
#pragma once

#include <cstdint>

namespace lowp::kernels {

// Momentum as in PyTorch (Sutskever et al. 2013 without dampening):
//   g = fma(weight_decay, w, g),  v = fma(momentum, v, g),  d = nesterov ? fma(momentum, v, g) : v,
//   w = fma(-learning_rate, d, w)
// Without momentum v is null and d = g.
struct SgdArgs {
  float learning_rate = 0, momentum = 0, weight_decay = 0, gradient_scale = 1;
  bool nesterov = false;
};
void sgd_step(const SgdArgs& args, const float* w, const float* g, const float* v, float* w_out, float* v_out,
              int64_t n, int threads);

// Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), LAMB (You et al. 2020):
//   g = fma(weight_decay, w, g)                               Adam only
//   m = fma(1 - beta1, g - m, m),  v = fma((1 - beta2) g, g, beta2 v)
//   u = (m / correction1) / (sqrt(v / correction2) + epsilon)
//   Adam   w = fma(-learning_rate, u, w)
//   AdamW  w = fma(-learning_rate, u, w - (learning_rate weight_decay) w)
//   LAMB   u = fma(weight_decay, w, u),  w = fma(-learning_rate r, u, w),  r = |w| / |u|, 1 where either norm is 0
// with correction1 = 1 - beta1^t, correction2 = 1 - beta2^t at step t from 1.
enum class AdamRule : uint8_t { kAdam, kAdamW, kLamb };
struct AdamArgs {
  AdamRule rule = AdamRule::kAdam;
  float learning_rate = 0, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, weight_decay = 0, gradient_scale = 1;
  float correction1 = 1, correction2 = 1;
};
// Bytes of scratch that adam_step wants.
int64_t adam_scratch(AdamRule rule, int64_t n);
void adam_step(const AdamArgs& args, const float* w, const float* g, const float* m, const float* v, float* w_out,
               float* m_out, float* v_out, int64_t n, void* scratch, int threads);

// The same for `count` rows of a table of rows of n elements: row rows[i] has the gradient g[i, :]. Other rows stay as
// they are: their momentum does not fade and their weights do not decay. rows are distinct; everything is in place.
void sgd_rows(const SgdArgs& args, float* w, const float* g, float* v, const int64_t* rows, int64_t count, int64_t n,
              int threads);
void adam_rows(const AdamArgs& args, float* w, const float* g, float* m, float* v, const int64_t* rows, int64_t count,
               int64_t n, int threads);  // not kLamb

// The sum of (scale x)^2, and whether every x is finite. Blocks of kSumBlock elements are summed as a reduction
// (docs/numerics.md), the blocks in order in double. `blocks` has room for one double a block.
inline constexpr int64_t kSumBlock = 4096;
constexpr int64_t sum_blocks(int64_t n) { return (n + kSumBlock - 1) / kSumBlock; }
struct SquareSum {
  double sum = 0;
  bool finite = true;
};
SquareSum square_sum(const float* x, float scale, int64_t n, double* blocks, int threads);

}  // namespace lowp::kernels
