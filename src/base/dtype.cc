#include "base/dtype.h"

namespace lowp {
namespace {

enum class Kind : uint8_t { kNone, kFloating, kSigned, kUnsigned, kBool };

struct Traits {
  std::string_view name;
  uint8_t bits;
  Kind kind;
};

// Indexed by DType.
constexpr Traits kTraits[kDTypeCount] = {
    {"invalid", 0, Kind::kNone},        {"f32", 32, Kind::kFloating},   {"f16", 16, Kind::kFloating},
    {"bf16", 16, Kind::kFloating},      {"f64", 64, Kind::kFloating},   {"i8", 8, Kind::kSigned},
    {"u8", 8, Kind::kUnsigned},         {"i16", 16, Kind::kSigned},     {"u16", 16, Kind::kUnsigned},
    {"i32", 32, Kind::kSigned},         {"u32", 32, Kind::kUnsigned},   {"i64", 64, Kind::kSigned},
    {"u64", 64, Kind::kUnsigned},       {"bool", 8, Kind::kBool},       {"f8e4m3fn", 8, Kind::kFloating},
    {"f8e4m3fnuz", 8, Kind::kFloating}, {"f8e5m2", 8, Kind::kFloating}, {"f8e5m2fnuz", 8, Kind::kFloating},
    {"f8e8m0", 8, Kind::kFloating},     {"f4e2m1", 4, Kind::kFloating}, {"i4", 4, Kind::kSigned},
    {"u4", 4, Kind::kUnsigned},         {"i2", 2, Kind::kSigned},       {"u2", 2, Kind::kUnsigned},
    {"string", 0, Kind::kNone},
};

const Traits& traits(DType dtype) {
  auto index = static_cast<size_t>(dtype);
  return kTraits[index < kDTypeCount ? index : 0];
}

}  // namespace

std::string_view dtype_name(DType dtype) { return traits(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (int i = 1; i < kDTypeCount; ++i) {
    if (kTraits[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

int dtype_bits(DType dtype) { return traits(dtype).bits; }

size_t dtype_bytes(DType dtype, size_t count) {
  auto bits = static_cast<size_t>(traits(dtype).bits);
  if (bits >= 8) return count * (bits / 8);
  if (bits == 0) return 0;
  size_t per_byte = 8 / bits;
  return count / per_byte + (count % per_byte != 0 ? 1 : 0);
}

bool is_floating(DType dtype) { return traits(dtype).kind == Kind::kFloating; }
bool is_integer(DType dtype) { return traits(dtype).kind == Kind::kSigned || traits(dtype).kind == Kind::kUnsigned; }
bool is_signed_integer(DType dtype) { return traits(dtype).kind == Kind::kSigned; }

}  // namespace lowp
