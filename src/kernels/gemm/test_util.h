// Shared by the tests of gemm, conv and depthwise.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/dtype.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/pack.h"

namespace lowp::kernels::testing {

// The ways to multiply bf16, and where each stands in a list of expectations; a target's own.
constexpr BF16Products kEveryBF16[] = {BF16Products::kExpanded, BF16Products::kPairs, BF16Products::kTiles};
inline size_t index_of(BF16Products bf16) { return static_cast<size_t>(bf16); }
inline size_t index_of(Target target) { return index_of(bf16_products(target)); }

// Bytes that end at an unmapped page: reading past the end is a crash. `align` is that of the start, at the price of up
// to align - 1 bytes of slack behind the end.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(size_t size, size_t align = 1) : size_(size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t padded = (size + align - 1) / align * align;
    pages_ = (padded + page - 1) / page * page;
    map_ = static_cast<char*>(mmap(nullptr, pages_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(map_, MAP_FAILED);
    EXPECT_EQ(mprotect(map_ + pages_, page, PROT_NONE), 0);
    data_ = map_ + pages_ - padded;
  }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  ~GuardedBuffer() { munmap(map_, pages_ + static_cast<size_t>(sysconf(_SC_PAGESIZE))); }

  void* data() { return data_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  size_t size() const { return size_; }
  void fill(uint8_t byte) { std::memset(data_, byte, size_); }

 private:
  size_t size_, pages_;
  char *map_, *data_;
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = state_ ^ (state_ >> 33);
    return static_cast<uint32_t>((x * 0xff51afd7ed558ccdu) >> 32);
  }
  int range(int lo, int hi) { return lo + static_cast<int>(next() % static_cast<uint32_t>(hi - lo + 1)); }
  float uniform() { return static_cast<float>(next() >> 8) * 0x1p-23f - 1.0f; }

 private:
  uint64_t state_;
};

// Values of a dtype. Integers hit their extremes often; u8 stays below max_u8.
inline void fill_random(Random& random, DType dtype, void* data, size_t count, int max_u8 = 255) {
  for (size_t i = 0; i < count; ++i) {
    switch (dtype) {
      case DType::kF32: static_cast<float*>(data)[i] = random.uniform(); break;
      case DType::kBF16: static_cast<BFloat16*>(data)[i] = BFloat16(random.uniform()); break;
      case DType::kF16: static_cast<Float16*>(data)[i] = Float16(random.uniform()); break;
      case DType::kU8: {
        int r = random.range(0, 5);
        static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(r == 0 ? 0 : r == 1 ? max_u8 : random.range(0, max_u8));
        break;
      }
      case DType::kI8: {
        int r = random.range(0, 5);
        static_cast<int8_t*>(data)[i] = static_cast<int8_t>(r == 0 ? -128 : r == 1 ? 127 : random.range(-128, 127));
        break;
      }
      default: FAIL() << "no random values of " << dtype_name(dtype);
    }
  }
}

// Makes [K, N] weights safe for an A7 class by dividing those that meet in a lane which could overflow.
inline void make_a7_safe(Int8Class c, std::vector<int8_t>& w, int64_t k, int64_t n) {
  const int64_t count = lane_weights(c);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t first = 0; first < k; first += 2 * count) {
      for (int64_t half : {0, 2}) {
        int64_t rows[kMaxLaneWeights];
        lane_rows(c, first + half, rows);
        int positive = 0, negative = 0;
        for (int64_t i = 0; i < count; ++i) {
          const int v = rows[i] < k ? w[static_cast<size_t>(rows[i] * n + j)] : 0;
          (v > 0 ? positive : negative) += v;
        }
        if (positive <= kLaneLimit && negative >= -kLaneLimit) continue;
        for (int64_t i = 0; i < count; ++i) {
          if (rows[i] < k) w[static_cast<size_t>(rows[i] * n + j)] /= static_cast<int8_t>(count / 2);
        }
      }
    }
  }
}

// A random epilogue and the arrays behind it. Residuals have `pixels` rows.
struct RandomEpilogue {
  std::vector<float> bias, scale, steps;
  std::vector<int32_t> bias_s32;
  std::vector<uint8_t> residual;
  Epilogue e;

  RandomEpilogue(Random& random, bool is_int, int64_t pixels, int64_t n, Activation activation, DType out,
                 bool with_residual, DType residual_dtype, float magnitude) {
    for (int64_t i = 0; i < n; ++i) {
      bias.push_back(random.uniform());
      scale.push_back(magnitude * (1.5f + random.uniform()));
      bias_s32.push_back(random.range(-20000, 20000));
    }
    if (is_int) {
      // Steps of the output beyond an int32, now and then.
      if (n > 0 && random.range(0, 3) == 0) scale[static_cast<size_t>(random.range(0, static_cast<int>(n) - 1))] = 3e4f;
      e.scale = scale.data();
      e.bias_s32 = bias_s32.data();
    } else {
      e.bias = bias.data();
    }
    if (with_residual) {
      e.residual_ld = n + 3;
      residual.resize(static_cast<size_t>(pixels * e.residual_ld) * static_cast<size_t>(dtype_bits(residual_dtype)) /
                      8);
      fill_random(random, residual_dtype, residual.data(), static_cast<size_t>(pixels * e.residual_ld));
      e.residual = residual.data();
      e.residual_dtype = residual_dtype;
      e.residual_scale = 0.03f;
      e.residual_zero = residual_dtype == DType::kU8 ? 128 : -3;
    }
    e.activation = activation;
    e.lo = -0.5f;
    e.hi = 1.25f;
    e.alpha = 0.1f;
    e.out = out;
    e.out_inv_scale = 1.0f / 0.021f;
    if (random.range(0, 1) == 0) e.out_range = {-60, 127};
    if (!output_range(e).is_all && random.range(0, 1) == 0) {
      for (int64_t i = 0; i < n; ++i) steps.push_back(e.out_inv_scale * (1.5f + random.uniform()));
      e.out_inv_scales = steps.data();
    }
    e.out_zero = out == DType::kU8 ? 77 : out == DType::kI8 ? -9 : 0;
  }
};

inline constexpr Activation kAllActivations[] = {
    Activation::kNone,       Activation::kRelu,      Activation::kClip,      Activation::kGelu,
    Activation::kGeluCoarse, Activation::kGeluTanh,  Activation::kSigmoid,   Activation::kTanh,
    Activation::kSilu,       Activation::kHardSwish, Activation::kLeakyRelu,
};

// Bits of an output compared, NaNs equal; reports the first difference.
inline ::testing::AssertionResult same_bits(DType dtype, const void* want, const void* got, size_t count) {
  const size_t bytes = static_cast<size_t>(dtype_bits(dtype)) / 8;
  for (size_t i = 0; i < count; ++i) {
    const char *w = static_cast<const char*>(want) + i * bytes, *g = static_cast<const char*>(got) + i * bytes;
    if (std::memcmp(w, g, bytes) == 0) continue;
    if (dtype == DType::kF32) {
      float a, b;
      std::memcpy(&a, w, 4);
      std::memcpy(&b, g, 4);
      if (std::isnan(a) && std::isnan(b)) continue;
      return ::testing::AssertionFailure()
             << "element " << i << ": want " << a << ", got " << b << std::hexfloat << " (" << a << ", " << b << ")";
    }
    if (bytes == 1)
      return ::testing::AssertionFailure()
             << "element " << i << ": want " << int(uint8_t(*w)) << ", got " << int(uint8_t(*g));
    return ::testing::AssertionFailure() << "element " << i << " differs";
  }
  return ::testing::AssertionSuccess();
}

// Runs body(target) on every target that this CPU has, then restores the active one.
template <typename Body>
void on_every_target(Body&& body) {
  const Target before = active_target();
  for (Target target : supported_targets()) {
    set_active_target(target);
    SCOPED_TRACE(std::string(target_name(target)));
    body(target);
  }
  set_active_target(before);
}

}  // namespace lowp::kernels::testing
