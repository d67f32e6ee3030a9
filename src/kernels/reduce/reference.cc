#include "kernels/reduce/reference.h"

#include <algorithm>
#include <functional>

#include "kernels/elementwise/reference.h"

namespace lowp::kernels::reference {
namespace {

struct Reducer {
  float identity;
  std::function<float(float, float)> step;
  std::function<float(float, float)> combine;
};

Reducer reducer(Reduce op) {
  auto add = [](float a, float b) { return a + b; };
  switch (op) {
    case Reduce::kMax: return {-INFINITY, max_nan, max_nan};
    case Reduce::kMin: return {INFINITY, min_nan, min_nan};
    case Reduce::kProd: return {1.0f, [](float a, float b) { return a * b; }, [](float a, float b) { return a * b; }};
    case Reduce::kSumSquare:
    case Reduce::kL2: return {0.0f, [](float a, float b) { return std::fma(b, b, a); }, add};
    case Reduce::kL1: return {0.0f, [](float a, float b) { return a + std::fabs(b); }, add};
    default: return {0.0f, add, add};
  }
}

// value(i) is element i of the column.
template <typename Value>
float run(const Reducer& r, int64_t n, bool contiguous, Value value) {
  if (contiguous) {
    return lanes16(
        r.identity, n, [&](float acc, int64_t i) { return r.step(acc, value(i)); }, r.combine);
  }
  float total = r.identity;
  for (int64_t block = 0; block < n; block += 256) {
    float acc = r.identity;
    for (int64_t i = block; i < std::min(n, block + 256); ++i) acc = r.step(acc, value(i));
    total = block == 0 ? acc : r.combine(total, acc);
  }
  return total;
}

}  // namespace

void reduce_f32(Reduce op, const float* x, float* y, int64_t outer, int64_t n, int64_t inner) {
  for (int64_t c = 0; c < outer * inner; ++c) {
    auto value = [&](int64_t i) { return x[(c / inner * n + i) * inner + c % inner]; };
    bool contiguous = inner == 1;
    if (op == Reduce::kLogSumExp) {
      float m = run(reducer(Reduce::kMax), n, contiguous, value);
      if (!std::isfinite(m)) m = 0.0f;
      float sum = run(reducer(Reduce::kSum), n, contiguous, [&](int64_t i) { return reference::exp(value(i) - m); });
      y[c] = m + reference::log(sum);
      continue;
    }
    float v = run(reducer(op), n, contiguous, value);
    if (op == Reduce::kMean) v = v / static_cast<float>(n);
    if (op == Reduce::kL2) v = std::sqrt(v);
    if (op == Reduce::kLogSum) v = reference::log(v);
    y[c] = v;
  }
}

}  // namespace lowp::kernels::reference
