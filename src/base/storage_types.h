// Storage types: FP8, FP4, INT4 and INT2, with exact casts from and to float as ONNX Cast defines them.
//
// Every value of these types is exactly a float. From float they round to nearest, ties to even. With `saturate` a
// value beyond the largest finite one (infinities included) becomes that largest value; without it, it becomes infinity
// where the format has one (E5M2) and NaN elsewhere. FP4 and the integers have neither and always saturate; NaN becomes
// -0 in FP4, as in ONNX's backend tests, and 0 in the integers. E8M0 (powers of two, no sign) rounds as ONNX's default
// "up" (see encode_storage). Sources: ONNX operator specification, Cast; OCP 8-bit Floating Point Specification 1.0;
// OCP Microscaling Formats 1.0; Noune et al., arXiv:2206.02915 (the FNUZ formats).
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp {

// FP8, FP4, INT4, UINT4, INT2, UINT2.
bool is_storage_type(DType dtype);

// Direction in which E8M0 rounds between two powers of two; ONNX's round_mode.
enum class ScaleRounding { kUp, kDown, kNearest };

// The code of `value` in the low bits; the bits above dtype_bits are zero. `dtype` must be a storage type. E8M0 takes
// the magnitude; its `rounding` is ignored by the others.
uint8_t encode_storage(DType dtype, float value, bool saturate = true, ScaleRounding rounding = ScaleRounding::kUp);

// The value of a code; bits above dtype_bits are ignored.
float decode_storage(DType dtype, uint8_t code);

// Element `index` of a packed array (4 and 2 bit types: low bits first; 8 bit types: the byte).
uint8_t load_packed(DType dtype, const void* data, size_t index);
void store_packed(DType dtype, void* data, size_t index, uint8_t code);

}  // namespace lowp
