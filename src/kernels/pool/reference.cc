#include "kernels/pool/reference.h"

#include <limits>
#include <vector>

#include "kernels/quantize/reference.h"
#include "kernels/reduce/reference.h"

namespace lowp::kernels::reference {
namespace {

// body(offsets of the taps inside, count, output offset) for each output element.
template <typename Body>
void for_outputs(const PoolArgs& a, Body body) {
  int64_t out = 0;
  for (int64_t b = 0; b < a.batch; ++b)
    for (int64_t oh = 0; oh < a.out_h; ++oh)
      for (int64_t ow = 0; ow < a.out_w; ++ow)
        for (int64_t c = 0; c < a.channels; ++c) {
          std::vector<int64_t> taps;
          int64_t padded = 0;
          for (int64_t i = 0; i < a.kernel_h; ++i)
            for (int64_t j = 0; j < a.kernel_w; ++j) {
              int64_t h = oh * a.stride_h + i * a.dilation_h - a.pad_top;
              int64_t w = ow * a.stride_w + j * a.dilation_w - a.pad_left;
              if (h < a.in_h + a.pad_bottom && w < a.in_w + a.pad_right) ++padded;
              if (h < 0 || w < 0 || h >= a.in_h || w >= a.in_w) continue;
              taps.push_back(((b * a.in_h + h) * a.in_w + w) * a.channels + c);
            }
          body(taps, a.count_include_pad ? padded : static_cast<int64_t>(taps.size()), out++);
        }
}

float get(DType dtype, const void* p, int64_t i) {
  switch (dtype) {
    case DType::kBF16: return static_cast<float>(static_cast<const BFloat16*>(p)[i]);
    case DType::kF16: return static_cast<float>(static_cast<const Float16*>(p)[i]);
    default: return static_cast<const float*>(p)[i];
  }
}
void put(DType dtype, void* p, int64_t i, float v) {
  switch (dtype) {
    case DType::kBF16: static_cast<BFloat16*>(p)[i] = BFloat16(v); break;
    case DType::kF16: static_cast<Float16*>(p)[i] = Float16(v); break;
    default: static_cast<float*>(p)[i] = v;
  }
}

void max_pool_float(const PoolArgs& a, DType dtype, const void* x, void* y) {
  for_outputs(a, [&](const std::vector<int64_t>& taps, int64_t, int64_t out) {
    float m = -INFINITY;
    for (int64_t t : taps) m = max_nan(m, get(dtype, x, t));
    put(dtype, y, out, m);
  });
}

template <typename T>
void max_pool_typed(const PoolArgs& a, const T* x, T* y) {
  for_outputs(a, [&](const std::vector<int64_t>& taps, int64_t, int64_t out) {
    y[out] = std::numeric_limits<T>::lowest();
    for (int64_t t : taps) y[out] = x[t] > y[out] ? x[t] : y[out];
  });
}

}  // namespace

void max_pool(const PoolArgs& a, DType dtype, const void* x, void* y) {
  switch (dtype) {
    case DType::kI8: return max_pool_typed(a, static_cast<const int8_t*>(x), static_cast<int8_t*>(y));
    case DType::kU8: return max_pool_typed(a, static_cast<const uint8_t*>(x), static_cast<uint8_t*>(y));
    default: return max_pool_float(a, dtype, x, y);
  }
}

void average_pool(const PoolArgs& a, DType dtype, const void* x, void* y) {
  for_outputs(a, [&](const std::vector<int64_t>& taps, int64_t count, int64_t out) {
    float total = 0.0f;
    for (size_t block = 0; block < taps.size(); block += 256) {
      float acc = 0.0f;
      for (size_t i = block; i < taps.size() && i < block + 256; ++i) acc = acc + get(dtype, x, taps[i]);
      total = block == 0 ? acc : total + acc;
    }
    put(dtype, y, out, total / static_cast<float>(count));
  });
}

void max_pool_gradient(const PoolArgs& a, DType dtype, const void* dy, const void* x, void* dx) {
  std::vector<float> sums(static_cast<size_t>(a.batch * a.in_h * a.in_w * a.channels));
  for_outputs(a, [&](const std::vector<int64_t>& taps, int64_t, int64_t out) {
    if (taps.empty()) return;
    int64_t best = taps[0];
    for (int64_t t : taps) {
      const float v = get(dtype, x, t), b = get(dtype, x, best);
      if (v > b || (v != v && b == b)) best = t;
    }
    sums[static_cast<size_t>(best)] += get(dtype, dy, out);
  });
  for (size_t i = 0; i < sums.size(); ++i) put(dtype, dx, static_cast<int64_t>(i), sums[i]);
}

void average_pool_gradient(const PoolArgs& a, DType dtype, const void* dy, void* dx) {
  std::vector<float> sums(static_cast<size_t>(a.batch * a.in_h * a.in_w * a.channels));
  for_outputs(a, [&](const std::vector<int64_t>& taps, int64_t count, int64_t out) {
    for (int64_t t : taps) sums[static_cast<size_t>(t)] += get(dtype, dy, out) / static_cast<float>(count);
  });
  for (size_t i = 0; i < sums.size(); ++i) put(dtype, dx, static_cast<int64_t>(i), sums[i]);
}

void average_pool_q8(const PoolArgs& a, const PoolQuantization& q, const void* x, void* y) {
  for_outputs(a, [&](const std::vector<int64_t>& taps, int64_t count, int64_t out) {
    int32_t acc = 0;
    for (int64_t t : taps) {
      int32_t v = q.dtype == DType::kI8 ? static_cast<const int8_t*>(x)[t] : static_cast<const uint8_t*>(x)[t];
      acc += v - q.x_zero;
    }
    float v = static_cast<float>(acc) * q.x_scale / static_cast<float>(count);
    static_cast<uint8_t*>(y)[out] = static_cast<uint8_t>(quantize(q.dtype, v, q.y_scale, q.y_zero));
  });
}

}  // namespace lowp::kernels::reference
