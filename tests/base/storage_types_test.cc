#include "base/storage_types.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace lowp {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

constexpr DType kAll[] = {DType::kF8E4M3FN, DType::kF8E4M3FNUZ, DType::kF8E5M2, DType::kF8E5M2FNUZ, DType::kF8E8M0,
                          DType::kF4E2M1,   DType::kI4,         DType::kU4,     DType::kI2,         DType::kU2};
constexpr DType kSignedFloats[] = {DType::kF8E4M3FN, DType::kF8E4M3FNUZ, DType::kF8E5M2, DType::kF8E5M2FNUZ,
                                   DType::kF4E2M1};

int codes(DType dtype) { return 1 << dtype_bits(dtype); }

TEST(StorageTypes, EveryCodeRoundTrips) {
  for (DType dtype : kAll) {
    for (int code = 0; code < codes(dtype); ++code) {
      float value = decode_storage(dtype, static_cast<uint8_t>(code));
      uint8_t back = encode_storage(dtype, value, false);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(decode_storage(dtype, back))) << dtype_name(dtype) << " " << code;
      } else {
        EXPECT_EQ(back, code) << dtype_name(dtype);
      }
    }
  }
}

struct Extremes {
  DType dtype;
  float largest;
  float smallest;
};
TEST(StorageTypes, LargestAndSmallest) {
  for (Extremes e : {Extremes{DType::kF8E4M3FN, 448.0f, 0x1p-9f}, Extremes{DType::kF8E4M3FNUZ, 240.0f, 0x1p-10f},
                     Extremes{DType::kF8E5M2, 57344.0f, 0x1p-16f}, Extremes{DType::kF8E5M2FNUZ, 57344.0f, 0x1p-17f},
                     Extremes{DType::kF4E2M1, 6.0f, 0.5f}, Extremes{DType::kI4, 7.0f, 1.0f},
                     Extremes{DType::kU4, 15.0f, 1.0f}, Extremes{DType::kI2, 1.0f, 1.0f},
                     Extremes{DType::kU2, 3.0f, 1.0f}, Extremes{DType::kF8E8M0, 0x1p127f, 0x1p-127f}}) {
    SCOPED_TRACE(dtype_name(e.dtype));
    EXPECT_EQ(decode_storage(e.dtype, encode_storage(e.dtype, kInf)), e.largest);
    EXPECT_EQ(decode_storage(e.dtype, encode_storage(e.dtype, e.smallest)), e.smallest);
    float least = kInf;
    for (int code = 0; code < codes(e.dtype); ++code) {
      float v = decode_storage(e.dtype, static_cast<uint8_t>(code));
      if (v > 0) least = std::min(least, v);
    }
    EXPECT_EQ(least, e.smallest);
  }
}

// Brute force: the nearest of all codes, a tie to the even code.
TEST(StorageTypes, RoundsToNearestEven) {
  constexpr uint32_t kSeed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  for (DType dtype : kSignedFloats) {
    SCOPED_TRACE(dtype_name(dtype));
    std::vector<std::pair<float, int>> positive;
    for (int code = 0; code < codes(dtype) / 2; ++code) {
      float v = decode_storage(dtype, static_cast<uint8_t>(code));
      if (std::isfinite(v)) positive.emplace_back(v, code);
    }
    for (size_t i = 1; i < positive.size(); ++i) {
      auto [low, low_code] = positive[i - 1];
      auto [high, high_code] = positive[i];
      float middle = (low + high) / 2;
      EXPECT_EQ(encode_storage(dtype, middle), low_code % 2 == 0 ? low_code : high_code);
      EXPECT_EQ(encode_storage(dtype, std::nextafter(middle, 0.0f)), low_code);
      EXPECT_EQ(encode_storage(dtype, std::nextafter(middle, kInf)), high_code);
      float between = std::uniform_real_distribution<float>(low, high)(random);
      EXPECT_EQ(encode_storage(dtype, between), between < middle   ? low_code
                                                : between > middle ? high_code
                                                                   : encode_storage(dtype, middle));
      EXPECT_EQ(decode_storage(dtype, encode_storage(dtype, -between)),
                -decode_storage(dtype, encode_storage(dtype, between)));
    }
  }
}

// The tables of ONNX Cast.
TEST(StorageTypes, SpecialValues) {
  struct Row {
    DType dtype;
    uint8_t minus_zero, nan, inf, inf_unsaturated, minus_inf_unsaturated;
  };
  for (Row r :
       {Row{DType::kF8E4M3FN, 0x80, 0x7f, 0x7e, 0x7f, 0xff}, Row{DType::kF8E4M3FNUZ, 0, 0x80, 0x7f, 0x80, 0x80},
        Row{DType::kF8E5M2, 0x80, 0x7f, 0x7b, 0x7c, 0xfc}, Row{DType::kF8E5M2FNUZ, 0, 0x80, 0x7f, 0x80, 0x80}}) {
    SCOPED_TRACE(dtype_name(r.dtype));
    EXPECT_EQ(encode_storage(r.dtype, -0.0f), r.minus_zero);
    EXPECT_EQ(encode_storage(r.dtype, kNan), r.nan);
    for (float big : {kInf, 1e30f}) {
      EXPECT_EQ(encode_storage(r.dtype, big), r.inf);
      EXPECT_EQ(encode_storage(r.dtype, -big), r.inf | 0x80);
      EXPECT_EQ(encode_storage(r.dtype, big, false), r.inf_unsaturated);
      EXPECT_EQ(encode_storage(r.dtype, -big, false), r.minus_inf_unsaturated);
    }
  }
  EXPECT_EQ(encode_storage(DType::kF8E4M3FN, 464.0f, false), 0x7e);  // the tie between 448 and 480 rounds to 448
  EXPECT_EQ(encode_storage(DType::kF8E4M3FN, 465.0f, false), 0x7f);
  EXPECT_EQ(encode_storage(DType::kF4E2M1, -kInf, false), 0xf);
  EXPECT_EQ(encode_storage(DType::kF4E2M1, kNan), 0x8);
  EXPECT_EQ(encode_storage(DType::kI4, -100.0f), 0x8);
  EXPECT_EQ(encode_storage(DType::kI4, 2.5f), 2);
  EXPECT_EQ(encode_storage(DType::kU2, -1.0f), 0);
}

TEST(StorageTypes, ScaleRounding) {
  auto encode = [](float v, ScaleRounding r, bool saturate = true) {
    return encode_storage(DType::kF8E8M0, v, saturate, r);
  };
  EXPECT_EQ(encode(1.0f, ScaleRounding::kUp), 127);
  EXPECT_EQ(encode(1.01f, ScaleRounding::kUp), 128);
  EXPECT_EQ(encode(1.99f, ScaleRounding::kDown), 127);
  EXPECT_EQ(encode(1.49f, ScaleRounding::kNearest), 127);
  EXPECT_EQ(encode(1.51f, ScaleRounding::kNearest), 128);
  EXPECT_EQ(encode(0.0f, ScaleRounding::kUp), 0);
  EXPECT_EQ(encode(0.0f, ScaleRounding::kNearest, false), 0xff);
  EXPECT_EQ(encode(std::numeric_limits<float>::max(), ScaleRounding::kUp), 0xfe);
  EXPECT_EQ(encode(std::numeric_limits<float>::max(), ScaleRounding::kUp, false), 0xff);
  EXPECT_EQ(encode(kNan, ScaleRounding::kUp), 0xff);
}

TEST(StorageTypes, Packing) {
  for (DType dtype : {DType::kI4, DType::kU2, DType::kF8E5M2}) {
    std::vector<uint8_t> bytes(dtype_bytes(dtype, 13), 0xa5);
    int mask = codes(dtype) - 1;
    for (size_t i = 0; i < 13; ++i) store_packed(dtype, bytes.data(), i, static_cast<uint8_t>(i * 5));
    for (size_t i = 0; i < 13; ++i) EXPECT_EQ(load_packed(dtype, bytes.data(), i), static_cast<int>(i * 5) & mask);
  }
  uint8_t byte = 0;
  store_packed(DType::kU4, &byte, 0, 0x3);
  store_packed(DType::kU4, &byte, 1, 0xc);
  EXPECT_EQ(byte, 0xc3);
}

}  // namespace
}  // namespace lowp
