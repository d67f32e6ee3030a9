#include "base/dtype.h"

#include <gtest/gtest.h>

namespace lowp {
namespace {

TEST(DType, NamesRoundTrip) {
  for (int i = 1; i < kDTypeCount; ++i) {
    auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  }
  EXPECT_FALSE(dtype_from_name("invalid"));
  EXPECT_FALSE(dtype_from_name("float"));
  EXPECT_EQ(dtype_name(static_cast<DType>(200)), "invalid");
}

TEST(DType, Bytes) {
  EXPECT_EQ(dtype_bytes(DType::kF32, 3), 12u);
  EXPECT_EQ(dtype_bytes(DType::kBool, 3), 3u);
  EXPECT_EQ(dtype_bytes(DType::kI4, 0), 0u);
  EXPECT_EQ(dtype_bytes(DType::kI4, 3), 2u);
  EXPECT_EQ(dtype_bytes(DType::kF4E2M1, 4), 2u);
  EXPECT_EQ(dtype_bytes(DType::kU2, 5), 2u);
  EXPECT_EQ(dtype_bytes(DType::kString, 5), 0u);
}

TEST(DType, Kinds) {
  EXPECT_TRUE(is_floating(DType::kF4E2M1));
  EXPECT_FALSE(is_integer(DType::kBool));
  EXPECT_TRUE(is_integer(DType::kU2));
  EXPECT_FALSE(is_signed_integer(DType::kU2));
  EXPECT_TRUE(is_signed_integer(DType::kI64));
}

}  // namespace
}  // namespace lowp
