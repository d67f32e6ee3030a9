// What calibration remembers of one tensor: extremes and a histogram that grows with the data. Memory does not depend
// on the number of samples.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace lowp::quant {

struct Range {
  float lo = 0;
  float hi = 0;
};

enum class RangeMethod : uint8_t {
  kMinMax,      // the extremes seen
  kPercentile,  // the 0.001% at each end are cut off
  kMse,         // the range with the least expected squared error, rounding and clipping together
};

class HistogramObserver {
 public:
  // kCalibration where a value is NaN or infinite.
  Status observe(std::span<const float> values);
  bool empty() const { return count_ == 0; }
  int64_t count() const { return count_; }
  Range extremes() const { return {min_, max_}; }
  // The range for quantization to `levels` steps (255 for u8, 127 for 7 bits). It contains zero.
  Range range(RangeMethod method, int levels) const;

 private:
  static constexpr int kBins = 4096;  // over [-limit_, limit_); even, so that zero is an edge

  void grow(float magnitude);
  Range percentile_range(double fraction) const;
  Range mse_range(int levels) const;
  double expected_error(Range range, int levels) const;

  float limit_ = 0;  // a power of two; 0: nothing but zeros seen
  float min_ = 0;
  float max_ = 0;
  int64_t count_ = 0;
  int64_t zeros_ = 0;  // exact zeros, which every range represents exactly
  std::vector<int64_t> bins_;
};

}  // namespace lowp::quant
