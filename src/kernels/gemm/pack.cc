#include "kernels/gemm/pack.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"

namespace lowp::kernels {
namespace {

int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// Element (k, n) of a packed matrix.
int64_t packed_index(int64_t k, int64_t n, int64_t rows, int64_t group) {
  return n / kPanel * rows * kPanel + k / group * group * kPanel + n % kPanel * group + k % group;
}

// Panel by panel; source element (k, n) is at offset_of(k) + n * column.
template <typename Src, typename Dst, typename OffsetOf, typename Convert>
void pack_panels(const Src* src, int64_t column, int64_t k, int64_t n, int64_t group, Dst* dst, OffsetOf offset_of,
                 Convert convert) {
  const int64_t rows = up(k, group);
  std::memset(dst, 0, static_cast<size_t>(rows * up(n, kPanel)) * sizeof(Dst));
  for (int64_t n0 = 0; n0 < n; n0 += kPanel, dst += rows * kPanel) {
    const int64_t columns = n - n0 < kPanel ? n - n0 : kPanel;
    for (int64_t i = 0; i < k; ++i) {
      const Src* from = src + offset_of(i) + n0 * column;
      Dst* to = dst + i / group * group * kPanel + i % group;
      for (int64_t j = 0; j < columns; ++j) to[j * group] = convert(from[j * column]);
    }
  }
}

template <typename Src, typename Dst, typename Convert>
void pack_matrix(const Src* src, int64_t ld, bool transposed, int64_t k, int64_t n, int64_t group, Dst* dst,
                 Convert convert) {
  const int64_t row = transposed ? 1 : ld, column = transposed ? ld : 1;
  pack_panels(
      src, column, k, n, group, dst, [=](int64_t i) { return i * row; }, convert);
}

// O x I x KH x KW of one group, as [K = (kh, kw, i), O].
template <typename Src, typename Dst, typename Convert>
void pack_filters(const Src* src, int64_t out_c, int64_t in_c, int64_t taps, int64_t group, Dst* dst, Convert convert) {
  const int64_t k = in_c * taps;
  pack_panels(
      src, k, k, out_c, group, dst, [=](int64_t i) { return i % in_c * taps + i / in_c; }, convert);
}

// Calls pack(source pointer, destination pointer, convert) with the types of kind and src_dtype.
template <typename Pack>
void with_types(WeightKind kind, DType src_dtype, const void* src, void* dst, Pack pack) {
  auto same = [](auto v) { return v; };
  switch (kind) {
    case WeightKind::kF32:
      LOWP_CHECK(src_dtype == DType::kF32);
      return pack(static_cast<const float*>(src), static_cast<float*>(dst), same);
    case WeightKind::kBF16:
      if (src_dtype == DType::kF32) {
        return pack(static_cast<const float*>(src), static_cast<uint16_t*>(dst),
                    [](float v) { return BFloat16(v).bits; });
      }
      LOWP_CHECK(src_dtype == DType::kBF16);
      return pack(static_cast<const uint16_t*>(src), static_cast<uint16_t*>(dst), same);
    case WeightKind::kF16:
      if (src_dtype == DType::kF32) {
        return pack(static_cast<const float*>(src), static_cast<uint16_t*>(dst),
                    [](float v) { return Float16(v).bits; });
      }
      LOWP_CHECK(src_dtype == DType::kF16);
      return pack(static_cast<const uint16_t*>(src), static_cast<uint16_t*>(dst), same);
    case WeightKind::kS8:
      LOWP_CHECK(src_dtype == DType::kI8);
      return pack(static_cast<const int8_t*>(src), static_cast<int8_t*>(dst), same);
  }
}

// at(k): the weight of one column.
template <typename At>
bool column_a7_safe(Int8Class c, int64_t k, At at) {
  const int64_t window = 2 * lane_weights(c);
  for (int64_t first = 0; first < k; first += window) {
    for (int64_t half : {0, 2}) {
      int64_t rows[kMaxLaneWeights];
      lane_rows(c, first + half, rows);
      int positive = 0, negative = 0;
      for (int i = 0; i < lane_weights(c); ++i) {
        const int w = rows[i] < k ? at(rows[i]) : 0;
        (w > 0 ? positive : negative) += w;
      }
      if (positive > kLaneLimit || negative < -kLaneLimit) return false;
    }
  }
  return true;
}

}  // namespace

int64_t pack_group(WeightKind kind) {
  switch (kind) {
    case WeightKind::kF32: return 1;
    case WeightKind::kBF16:
    case WeightKind::kF16: return 2;
    case WeightKind::kS8: return 4;
  }
  return 1;
}

size_t weight_bytes(WeightKind kind) {
  switch (kind) {
    case WeightKind::kF32: return 4;
    case WeightKind::kBF16:
    case WeightKind::kF16: return 2;
    case WeightKind::kS8: return 1;
  }
  return 4;
}

size_t packed_bytes(WeightKind kind, int64_t k, int64_t n) {
  return static_cast<size_t>(up(k, pack_group(kind)) * up(n, kPanel)) * weight_bytes(kind);
}

void pack(WeightKind kind, DType src_dtype, const void* src, int64_t ld, bool transposed, int64_t k, int64_t n,
          void* dst) {
  with_types(kind, src_dtype, src, dst, [&](const auto* s, auto* d, auto convert) {
    pack_matrix(s, ld, transposed, k, n, pack_group(kind), d, convert);
  });
}
void pack_f32(const float* src, int64_t ld, bool transposed, int64_t k, int64_t n, float* dst) {
  pack(WeightKind::kF32, DType::kF32, src, ld, transposed, k, n, dst);
}
void pack_16(const uint16_t* src, int64_t ld, bool transposed, int64_t k, int64_t n, uint16_t* dst) {
  pack(WeightKind::kBF16, DType::kBF16, src, ld, transposed, k, n, dst);
}
void pack_s8(const int8_t* src, int64_t ld, bool transposed, int64_t k, int64_t n, int8_t* dst) {
  pack(WeightKind::kS8, DType::kI8, src, ld, transposed, k, n, dst);
}
void pack_bf16_from_f32(const float* src, int64_t ld, bool transposed, int64_t k, int64_t n, uint16_t* dst) {
  pack(WeightKind::kBF16, DType::kF32, src, ld, transposed, k, n, dst);
}
void pack_f16_from_f32(const float* src, int64_t ld, bool transposed, int64_t k, int64_t n, uint16_t* dst) {
  pack(WeightKind::kF16, DType::kF32, src, ld, transposed, k, n, dst);
}

void expand_packed(WeightKind kind, const void* src, int64_t k, int64_t n, float* dst) {
  LOWP_CHECK(kind == WeightKind::kBF16 || kind == WeightKind::kF16);
  const int64_t rows = up(k, 2);
  const uint16_t* s = static_cast<const uint16_t*>(src);
  for (int64_t panel = 0; panel < up(n, kPanel); panel += kPanel) {
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < kPanel; ++j) {
        const uint16_t bits = s[packed_index(i, panel + j, rows, 2)];
        *dst++ = kind == WeightKind::kBF16 ? static_cast<float>(BFloat16::from_bits(bits))
                                           : static_cast<float>(Float16::from_bits(bits));
      }
    }
  }
}

size_t packed_conv_bytes(WeightKind kind, int64_t out_c, int64_t in_c_per_group, int64_t kh, int64_t kw,
                         int64_t groups) {
  return packed_bytes(kind, in_c_per_group * kh * kw, out_c / groups) * static_cast<size_t>(groups);
}

void pack_conv(WeightKind kind, DType src_dtype, const void* src, int64_t out_c, int64_t in_c_per_group, int64_t kh,
               int64_t kw, int64_t groups, void* dst) {
  const int64_t n = out_c / groups, taps = kh * kw;
  const size_t group_bytes = packed_bytes(kind, in_c_per_group * taps, n);
  for (int64_t g = 0; g < groups; ++g) {
    void* group_dst = static_cast<char*>(dst) + static_cast<size_t>(g) * group_bytes;
    with_types(kind, src_dtype, src, group_dst, [&](const auto* s, auto* d, auto convert) {
      pack_filters(s + g * n * in_c_per_group * taps, n, in_c_per_group, taps, pack_group(kind), d, convert);
    });
  }
}

size_t packed_depthwise_bytes(DType dtype, int64_t c, int64_t kh, int64_t kw) {
  return static_cast<size_t>(kh * kw * up(c, kPanel)) * (dtype == DType::kF32 ? 4 : 1);
}

void pack_depthwise(DType dtype, const void* src, int64_t c, int64_t kh, int64_t kw, void* dst) {
  std::memset(dst, 0, packed_depthwise_bytes(dtype, c, kh, kw));
  const int64_t taps = kh * kw, columns = up(c, kPanel);
  auto place = [&](const auto* s, auto* d) {
    for (int64_t i = 0; i < c; ++i) {
      for (int64_t t = 0; t < taps; ++t) d[t * columns + i] = s[i * taps + t];
    }
  };
  if (dtype == DType::kF32) return place(static_cast<const float*>(src), static_cast<float*>(dst));
  LOWP_CHECK(dtype == DType::kI8);
  place(static_cast<const int8_t*>(src), static_cast<int8_t*>(dst));
}

void column_sums(const int8_t* src, int64_t ld, bool transposed, int64_t k, int64_t n, int32_t* sums) {
  for (int64_t j = 0; j < n; ++j) {
    int32_t sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += transposed ? src[j * ld + i] : src[i * ld + j];
    sums[j] = sum;
  }
}

int64_t largest_weight_sum(const int8_t* src, int64_t k, int64_t n) {
  int64_t largest = 0;
  for (int64_t i = 0; i < n; ++i, src += k) {
    int64_t sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += src[j] < 0 ? -src[j] : src[j];
    largest = std::max(largest, sum);
  }
  return largest;
}

void fold_zero_point(const int32_t* bias, const int32_t* sums, int64_t n, DType a_dtype, int32_t a_zero,
                     int32_t* bias_s32) {
  const int64_t zero = a_dtype == DType::kI8 ? a_zero + 128 : a_zero;
  for (int64_t i = 0; i < n; ++i) bias_s32[i] = static_cast<int32_t>((bias != nullptr ? bias[i] : 0) - zero * sums[i]);
}

bool a7_safe(Int8Class c, const int8_t* src, int64_t ld, bool transposed, int64_t k, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    auto at = [&](int64_t i) { return transposed ? src[j * ld + i] : src[i * ld + j]; };
    if (!column_a7_safe(c, k, at)) return false;
  }
  return true;
}

bool a7_safe_conv(Int8Class c, const int8_t* src, int64_t out_c, int64_t in_c_per_group, int64_t kh, int64_t kw) {
  const int64_t taps = kh * kw, k = in_c_per_group * taps;
  for (int64_t o = 0; o < out_c; ++o) {
    auto at = [&](int64_t i) { return src[o * k + i % in_c_per_group * taps + i / in_c_per_group]; };
    if (!column_a7_safe(c, k, at)) return false;
  }
  return true;
}

}  // namespace lowp::kernels
