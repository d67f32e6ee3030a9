// What tests of kernels share: every target that runs here, random and awkward values, comparison of bits.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <type_traits>

#include "base/cpu.h"
#include "support/guarded_buffer.h"

namespace lowp::test {

// Runs body with each supported target active, on 1 and 2 threads; the target is part of a failure's message.
template <typename Body>
void for_each_target(Body&& body) {
  Target before = active_target();
  for (Target target : supported_targets()) {
    set_active_target(target);
    for (int threads : {1, 2}) {
      SCOPED_TRACE(std::string(target_name(target)) + ", threads " + std::to_string(threads));
      body(threads);
    }
  }
  set_active_target(before);
}

// Seeded by LOWP_SEED, or fixed; SCOPED_TRACE the seed where it matters.
class Random {
 public:
  Random() : engine_(seed()) {}
  static uint32_t seed() {
    const char* text = std::getenv("LOWP_SEED");
    return text ? static_cast<uint32_t>(std::strtoul(text, nullptr, 10)) : 20260101u;
  }
  float uniform(float lo, float hi) { return std::uniform_real_distribution<float>(lo, hi)(engine_); }
  int64_t integer(int64_t lo, int64_t hi) { return std::uniform_int_distribution<int64_t>(lo, hi)(engine_); }
  uint32_t bits() { return static_cast<uint32_t>(engine_()); }
  // Any bit pattern: NaNs, infinities and subnormals included.
  float any() { return std::bit_cast<float>(bits()); }

  GuardedBuffer<float> floats(int64_t n, float lo = -1.0f, float hi = 1.0f) {
    GuardedBuffer<float> b(n);
    for (float& v : b) v = uniform(lo, hi);
    return b;
  }
  template <typename T>
  GuardedBuffer<T> integers(int64_t n, int64_t lo, int64_t hi) {
    GuardedBuffer<T> b(n);
    for (T& v : b) v = static_cast<T>(integer(lo, hi));
    return b;
  }

 private:
  std::mt19937 engine_;
};

inline GuardedBuffer<float> awkward_floats() {
  float inf = INFINITY, nan = NAN;
  return {0.0f,
          -0.0f,
          inf,
          -inf,
          nan,
          -nan,
          0x1p-149f,
          -0x1p-149f,
          0x1p-126f,
          0x1.fffffcp-127f,
          1.0f,
          -1.0f,
          0.5f,
          -0.5f,
          1.5f,
          2.5f,
          -2.5f,
          3.0f,
          0x1.fffffep127f,
          -0x1.fffffep127f,
          0x1p23f,
          0x1p24f,
          0x1p31f,
          -0x1p31f,
          88.8f,
          -87.5f,
          -103.5f,
          -110.0f,
          6.0f,
          20.0f,
          1e-8f,
          0.99999994f};
}

template <typename T>
bool same(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) && std::isnan(b)) return true;
    return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
  } else {
    return a == b;
  }
}

// Bits of two ranges; NaNs compare equal. Reports the first difference.
template <typename A, typename B>
void expect_same(const A& actual, const B& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    if (!same(actual[i], expected[i])) {
      FAIL() << "element " << i << " of " << actual.size() << ": got " << +actual[i] << ", expected " << +expected[i]
             << " (seed " << Random::seed() << ")";
    }
  }
}

}  // namespace lowp::test
