// The one packed weight order that all targets read and that engine files store.
//
// B[K, N] is cut into panels of 16 columns. Within a panel, k advances in groups of kg rows; a group holds, for each of
// the 16 columns, kg consecutive k:
//   byte offset of B[k, n] = esize * ((n / 16) * round_up(K, kg) * 16  +  (k / kg) * kg * 16  +  (n % 16) * kg  +  k %
//   kg)
// kg is 1 for f32 (K1N16), 2 for bf16 and f16 (K2N16), 4 for s8 (K4N16). Columns and rows beyond N and K are zeros.
// Packed weights start at a multiple of 64 bytes.
//
// Convolution weights are one such matrix a group, one after another: K = (kh, kw, c) flattened with c < C/groups
// fastest, N = output channels of the group.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

inline constexpr int64_t kPanel = 16;        // columns of a panel
inline constexpr int64_t kMaxInt8K = 65536;  // 65536 * 255 * 128 still fits s32
inline constexpr size_t kPackedAlign = 64;

// How weights are stored when packed.
enum class WeightKind : uint8_t { kF32, kBF16, kF16, kS8 };
int64_t pack_group(WeightKind kind);   // kg
size_t weight_bytes(WeightKind kind);  // esize

size_t packed_bytes(WeightKind kind, int64_t k, int64_t n);

// src is [K, N] with ld elements between rows, or [N, K] when transposed. Source elements are those of the kind (float,
// bf16 bits, f16 bits, s8), or f32 for the *_from_f32 functions, which round to nearest even.
void pack_f32(const float* src, int64_t ld, bool transposed, int64_t k, int64_t n, float* dst);
void pack_16(const uint16_t* src, int64_t ld, bool transposed, int64_t k, int64_t n,
             uint16_t* dst);  // bf16 or f16 bits
void pack_s8(const int8_t* src, int64_t ld, bool transposed, int64_t k, int64_t n, int8_t* dst);
void pack_bf16_from_f32(const float* src, int64_t ld, bool transposed, int64_t k, int64_t n, uint16_t* dst);
void pack_f16_from_f32(const float* src, int64_t ld, bool transposed, int64_t k, int64_t n, uint16_t* dst);

// Convolution: src is O x I/groups x KH x KW, contiguous.
size_t packed_conv_bytes(WeightKind kind, int64_t out_c, int64_t in_c_per_group, int64_t kh, int64_t kw,
                         int64_t groups);
// src has elements of `src_dtype`: f32 for any float kind, or the kind's own (bf16, f16, s8).
void pack_conv(WeightKind kind, DType src_dtype, const void* src, int64_t out_c, int64_t in_c_per_group, int64_t kh,
               int64_t kw, int64_t groups, void* dst);
// As pack_conv for [K, N] / [N, K], by kind.
void pack(WeightKind kind, DType src_dtype, const void* src, int64_t ld, bool transposed, int64_t k, int64_t n,
          void* dst);

// Packed bf16 or f16 to packed f32, exactly: for targets that compute in f32 (expands_weights in gemm.h). Convolution:
// a group at a time.
void expand_packed(WeightKind kind, const void* src, int64_t k, int64_t n, float* dst);

// Depthwise: src is C x 1 x KH x KW, dst is [KH * KW][round_up(C, 16)], f32 or s8, channels beyond C zero.
size_t packed_depthwise_bytes(DType dtype, int64_t c, int64_t kh, int64_t kw);  // kF32 or kI8
void pack_depthwise(DType dtype, const void* src, int64_t c, int64_t kh, int64_t kw, void* dst);

// Sum over k of each column, from weights as the model has them: s8 [K, N] or [N, K]; for O x I x KH x KW pass
// transposed = true, k = I*KH*KW, n = O, ld = k.
void column_sums(const int8_t* src, int64_t ld, bool transposed, int64_t k, int64_t n, int32_t* sums);

// The largest sum of |weights| of a column; src as for column_sums, [N, K] without gaps.
int64_t largest_weight_sum(const int8_t* src, int64_t k, int64_t n);

// bias_s32[n] = bias[n] - zero * sums[n], zero being a_zero for u8 activations and a_zero + 128 for s8 ones, which the
// kernels read as u8 (xor 0x80). bias may be null. The result is Epilogue::bias_s32 of gemm, conv and depthwise.
void fold_zero_point(const int32_t* bias, const int32_t* sums, int64_t n, DType a_dtype, int32_t a_zero,
                     int32_t* bias_s32);

// How an INT8 layer computes on instruction sets without VNNI; results are the same exact s32 everywhere. The A7
// classes take activations 0..127 (padding included) and add several maddubs in 16 bit before they widen: the more, the
// fewer instructions. Depthwise layers know only whether activations are 0..127, that is whether a class is an A7 one:
// each maddubs is widened alone, and two products always fit (127 * 128 * 2 = 32512), so weights need no limit.
enum class Int8Class : uint8_t {
  kExact8,  // activations 0..255, any weights: operands widened to 16 bit
  kA7Quad,  // two maddubs
  kA7Oct,   // four
};
inline constexpr int64_t kInt8Classes = 3;

// The weights of a column that meet in one 16-bit lane of an A7 class: 4 or 8, of which the positive ones may add up to
// kLaneLimit and the negative ones to -kLaneLimit, so that no sum with activations 0..127 leaves 16 bit (127 * 258 =
// 32766). Row k (along the flattened (kh, kw, c) order for convolution) meets, with w = 2 * lane_weights, k0 = k - k %
// w and j = k % 4 / 2 * 2, the rows k0 + 4i + j and k0 + 4i + j + 1 for all i; rows beyond K count as zero.
inline constexpr int kMaxLaneWeights = 8;
inline constexpr int kLaneLimit = 258;
inline constexpr int lane_weights(Int8Class c) { return c == Int8Class::kA7Oct ? 8 : 4; }
// rows[0 .. lane_weights): the rows that row k meets, itself included.
inline void lane_rows(Int8Class c, int64_t k, int64_t rows[kMaxLaneWeights]) {
  const int64_t window = 2 * lane_weights(c), first = k / window * window + k % 4 / 2 * 2;
  for (int i = 0; i < lane_weights(c); ++i) rows[i] = first + i / 2 * 4 + i % 2;
}

// Whether the weights keep to an A7 class's limit. src as for column_sums.
bool a7_safe(Int8Class c, const int8_t* src, int64_t ld, bool transposed, int64_t k, int64_t n);
// The same for O x I/groups x KH x KW convolution weights, whose packed order is not their own.
bool a7_safe_conv(Int8Class c, const int8_t* src, int64_t out_c, int64_t in_c_per_group, int64_t kh, int64_t kw);

}  // namespace lowp::kernels
