#include "quant/weights.h"

#include <algorithm>
#include <cmath>

#include "kernels/gemm/pack.h"

namespace lowp::quant {

QuantizedWeights quantize_weights(const ir::Tensor& w, int axis, std::span<const float> least_scales) {
  const int64_t channels = w.extent(axis);
  int64_t inner = 1;
  for (int i = axis + 1; i < w.rank(); ++i) inner *= w.extent(i);
  const int64_t outer = channels * inner == 0 ? 0 : w.size() / (channels * inner);
  QuantizedWeights q{ir::Tensor::zeros(DType::kI8, w.extents()), ir::Tensor::zeros(DType::kF32, {channels})};
  const float* x = w.data<float>();
  auto for_channel = [&](int64_t c, auto&& fn) {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) fn((o * channels + c) * inner + i);
    }
  };
  for (int64_t c = 0; c < channels; ++c) {
    float top = 0;
    for_channel(c, [&](int64_t i) { top = std::max(top, std::abs(x[i])); });
    if (!(top > 0) || !std::isfinite(top)) {
      q.scales.mutable_data<float>()[c] = 1.0F;
      continue;
    }
    float best_scale = top / 127.0F;
    double best_error = -1;
    // Beyond 20% of clipping the error only grows for the weights of trained models.
    for (int step = 0; step <= 10; ++step) {
      const float scale = top / 127.0F * (1.0F - 0.02F * static_cast<float>(step));
      double error = 0;
      for_channel(c, [&](int64_t i) {
        const float v = std::clamp(std::nearbyint(x[i] / scale), -127.0F, 127.0F) * scale - x[i];
        error += static_cast<double>(v) * static_cast<double>(v);
      });
      if (best_error < 0 || error < best_error) {
        best_error = error;
        best_scale = scale;
      }
    }
    if (!least_scales.empty()) best_scale = std::max(best_scale, least_scales[static_cast<size_t>(c)]);
    q.scales.mutable_data<float>()[c] = best_scale;
    for_channel(c, [&](int64_t i) {
      q.values.mutable_data<int8_t>()[i] =
          static_cast<int8_t>(std::clamp(std::nearbyint(x[i] / best_scale), -127.0F, 127.0F));
    });
  }
  return q;
}

int64_t project_quads(ir::Tensor& w, int64_t channels, int64_t k,
                      const std::function<int64_t(int64_t, int64_t)>& index) {
  int64_t changed = 0;
  int8_t* p = w.mutable_data<int8_t>();
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t base = 0; base < k; base += 8) {
      for (const int64_t first : {base, base + 2}) {
        int64_t rows[4];
        kernels::quad_rows(first, rows);
        for (const int sign : {1, -1}) {
          int sum = 0;
          for (int64_t r : rows) {
            if (r < k) sum += std::max(0, sign * p[index(c, r)]);
          }
          // The nearest point of the half-space sum <= limit: all of the sign give the same.
          for (size_t turn = 0; sum > kernels::kQuadLimit; turn = (turn + 1) % 4) {
            if (rows[turn] >= k || sign * p[index(c, rows[turn])] <= 0) continue;
            int8_t& weight = p[index(c, rows[turn])];
            weight = static_cast<int8_t>(weight - sign);
            --sum;
            ++changed;
          }
        }
      }
    }
  }
  return changed;
}

}  // namespace lowp::quant
