#include "base/storage_types.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/status.h"

namespace lowp {
namespace {

// A small floating-point format with subnormals: sign, exponent, mantissa from the top.
struct FloatFormat {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  uint8_t largest;     // code of the largest finite value
  uint8_t nan;         // code of NaN; 0 where the format has none
  uint8_t infinity;    // code of +infinity; 0 where the format has none
  bool negative_zero;  // false: the code of -0 is NaN (FNUZ)
};

constexpr FloatFormat kE4M3FN{4, 3, 7, 0x7e, 0x7f, 0, true};
constexpr FloatFormat kE4M3FNUZ{4, 3, 8, 0x7f, 0x80, 0, false};
constexpr FloatFormat kE5M2{5, 2, 15, 0x7b, 0x7f, 0x7c, true};
constexpr FloatFormat kE5M2FNUZ{5, 2, 16, 0x7f, 0x80, 0, false};
constexpr FloatFormat kE2M1{2, 1, 1, 0x7, 0, 0, true};

const FloatFormat* float_format(DType dtype) {
  switch (dtype) {
    case DType::kF8E4M3FN: return &kE4M3FN;
    case DType::kF8E4M3FNUZ: return &kE4M3FNUZ;
    case DType::kF8E5M2: return &kE5M2;
    case DType::kF8E5M2FNUZ: return &kE5M2FNUZ;
    case DType::kF4E2M1: return &kE2M1;
    default: return nullptr;
  }
}

int sign_shift(const FloatFormat& f) { return f.exponent_bits + f.mantissa_bits; }

float decode_magnitude(const FloatFormat& f, int code) {
  int exponent = code >> f.mantissa_bits;
  int mantissa = code & ((1 << f.mantissa_bits) - 1);
  if (exponent == 0) return std::ldexp(static_cast<float>(mantissa), 1 - f.bias - f.mantissa_bits);
  return std::ldexp(static_cast<float>(mantissa + (1 << f.mantissa_bits)), exponent - f.bias - f.mantissa_bits);
}

uint8_t encode_float(const FloatFormat& f, float value, bool saturate) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  bool negative = (bits >> 31) != 0;
  auto with_sign = [&](int code) {
    if (code == 0 && !f.negative_zero) return static_cast<uint8_t>(0);
    return static_cast<uint8_t>(code | (negative ? 1 << sign_shift(f) : 0));
  };
  if (std::isnan(value)) {
    if (f.nan == 0) return static_cast<uint8_t>(1 << sign_shift(f));  // FP4: -0
    return f.negative_zero ? with_sign(f.nan) : f.nan;
  }
  // Rounding to the code's spacing: below the smallest normal it is constant, above it follows the exponent. A carry
  // out of the mantissa moves on to the next exponent by itself.
  int code = f.largest + 1;
  if (!std::isinf(value)) {
    float magnitude = std::fabs(value);
    int exponent = magnitude == 0.0f ? 1 - f.bias : std::max(std::ilogb(magnitude), 1 - f.bias);
    // Beyond the format's range by more than one exponent the code would not fit an int's useful range.
    if (exponent <= (1 << f.exponent_bits) - f.bias) {
      auto steps =
          static_cast<int>(std::nearbyint(std::ldexp(static_cast<double>(magnitude), f.mantissa_bits - exponent)));
      code = ((exponent + f.bias - 1) << f.mantissa_bits) + steps;
    }
  }
  if (code <= f.largest) return with_sign(code);
  if (saturate || f.nan == 0) return with_sign(f.largest);
  if (f.infinity != 0) return with_sign(f.infinity);
  return f.negative_zero ? with_sign(f.nan) : f.nan;
}

float decode_float(const FloatFormat& f, uint8_t code) {
  int sign_bit = 1 << sign_shift(f);
  bool negative = (code & sign_bit) != 0;
  int magnitude = code & (sign_bit - 1);
  if (!f.negative_zero && code == f.nan) return std::numeric_limits<float>::quiet_NaN();
  float value = 0.0f;
  if (f.infinity != 0 && magnitude == f.infinity) {
    value = std::numeric_limits<float>::infinity();
  } else if (magnitude > f.largest) {
    value = std::numeric_limits<float>::quiet_NaN();
  } else {
    value = decode_magnitude(f, magnitude);
  }
  return negative ? -value : value;
}

// E8M0: code c is 2^(c-127); 255 is NaN. Out of range, zero included, is the nearest end or, without saturation, NaN.
uint8_t encode_scale(float value, bool saturate, ScaleRounding rounding) {
  if (std::isnan(value)) return 0xff;
  float magnitude = std::fabs(value);
  if (std::isinf(value)) return saturate ? 0xfe : 0xff;
  if (magnitude < 0x1p-127f) return saturate ? 0 : 0xff;
  int exponent = std::ilogb(magnitude);
  double fraction = std::ldexp(static_cast<double>(magnitude), -exponent);  // in [1, 2)
  bool up = rounding == ScaleRounding::kUp ? fraction > 1.0 : rounding == ScaleRounding::kNearest && fraction >= 1.5;
  int code = exponent + 127 + (up ? 1 : 0);
  if (code <= 0xfe) return static_cast<uint8_t>(code);
  return saturate ? 0xfe : 0xff;
}

uint8_t encode_integer(DType dtype, float value) {
  int bits = dtype_bits(dtype);
  bool is_signed = is_signed_integer(dtype);
  int lowest = is_signed ? -(1 << (bits - 1)) : 0;
  int highest = is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
  if (std::isnan(value)) return 0;
  float rounded = std::nearbyint(value);
  int integer = rounded <= static_cast<float>(lowest)    ? lowest
                : rounded >= static_cast<float>(highest) ? highest
                                                         : static_cast<int>(rounded);
  return static_cast<uint8_t>(integer & ((1 << bits) - 1));
}

}  // namespace

bool is_storage_type(DType dtype) { return dtype >= DType::kF8E4M3FN && dtype <= DType::kU2; }

uint8_t encode_storage(DType dtype, float value, bool saturate, ScaleRounding rounding) {
  LOWP_CHECK(is_storage_type(dtype));
  if (const FloatFormat* format = float_format(dtype)) return encode_float(*format, value, saturate);
  if (dtype == DType::kF8E8M0) return encode_scale(value, saturate, rounding);
  return encode_integer(dtype, value);
}

float decode_storage(DType dtype, uint8_t code) {
  LOWP_CHECK(is_storage_type(dtype));
  int bits = dtype_bits(dtype);
  code = static_cast<uint8_t>(code & ((1 << bits) - 1));
  if (const FloatFormat* format = float_format(dtype)) return decode_float(*format, code);
  if (dtype == DType::kF8E8M0) {
    return code == 0xff ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, static_cast<int>(code) - 127);
  }
  int integer = code;
  if (is_signed_integer(dtype) && integer >= 1 << (bits - 1)) integer -= 1 << bits;
  return static_cast<float>(integer);
}

uint8_t load_packed(DType dtype, const void* data, size_t index) {
  auto bits = static_cast<unsigned>(dtype_bits(dtype));
  LOWP_CHECK(bits > 0 && bits <= 8);
  unsigned per_byte = 8 / bits;
  unsigned byte = static_cast<const uint8_t*>(data)[index / per_byte];
  auto shift = static_cast<unsigned>(index % per_byte) * bits;
  return static_cast<uint8_t>((byte >> shift) & ((1u << bits) - 1u));
}

void store_packed(DType dtype, void* data, size_t index, uint8_t code) {
  auto bits = static_cast<unsigned>(dtype_bits(dtype));
  LOWP_CHECK(bits > 0 && bits <= 8);
  unsigned per_byte = 8 / bits;
  uint8_t* byte = static_cast<uint8_t*>(data) + index / per_byte;
  auto shift = static_cast<unsigned>(index % per_byte) * bits;
  unsigned mask = ((1u << bits) - 1u) << shift;
  *byte = static_cast<uint8_t>((*byte & ~mask) | ((static_cast<unsigned>(code) << shift) & mask));
}

}  // namespace lowp
