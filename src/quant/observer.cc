#include "quant/observer.h"

#include <algorithm>
#include <cmath>

namespace lowp::quant {

Status HistogramObserver::observe(std::span<const float> values) {
  float lo = 0;
  float hi = 0;
  bool finite = true;
  for (float v : values) {
    finite = finite && std::isfinite(v);
    lo = std::min(lo, v);
    hi = std::max(hi, v);
  }
  if (!finite) return error(Code::kCalibration, "a value is NaN or infinite");
  if (values.empty()) return {};
  min_ = count_ == 0 ? lo : std::min(min_, lo);
  max_ = count_ == 0 ? hi : std::max(max_, hi);
  count_ += static_cast<int64_t>(values.size());
  grow(std::max(-lo, hi));
  if (limit_ == 0) {
    zeros_ += static_cast<int64_t>(values.size());
    return {};
  }
  const float scale = static_cast<float>(kBins / 2) / limit_;
  for (float v : values) {
    if (v == 0) {
      ++zeros_;
      continue;
    }
    const int bin = static_cast<int>(std::floor(v * scale)) + kBins / 2;
    ++bins_[static_cast<size_t>(std::clamp(bin, 0, kBins - 1))];
  }
  return {};
}

// Doubling the limit merges pairs of bins, so no sample has to be kept.
void HistogramObserver::grow(float magnitude) {
  if (magnitude == 0 || magnitude < limit_) return;
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude < 2^exponent
  const float wanted = std::ldexp(1.0F, exponent);
  if (limit_ == 0) {
    limit_ = wanted;
    bins_.assign(kBins, 0);
    return;
  }
  while (limit_ < wanted) {
    std::vector<int64_t> merged(kBins, 0);
    for (int i = 0; i < kBins; ++i) merged[static_cast<size_t>(kBins / 4 + i / 2)] += bins_[static_cast<size_t>(i)];
    bins_ = std::move(merged);
    limit_ *= 2;
  }
}

Range HistogramObserver::range(RangeMethod method, int levels) const {
  if (limit_ == 0) return {0, 0};
  switch (method) {
    case RangeMethod::kMinMax: return extremes();
    case RangeMethod::kPercentile: return percentile_range(1e-5);
    case RangeMethod::kMse: return mse_range(levels);
  }
  return extremes();
}

Range HistogramObserver::percentile_range(double fraction) const {
  const auto cut = static_cast<int64_t>(static_cast<double>(count_) * fraction);
  const float width = 2 * limit_ / kBins;
  int first = 0;
  for (int64_t seen = 0; first < kBins / 2 && (seen += bins_[static_cast<size_t>(first)]) <= cut;) ++first;
  int last = kBins - 1;
  for (int64_t seen = 0; last >= kBins / 2 && (seen += bins_[static_cast<size_t>(last)]) <= cut;) --last;
  return {std::max(min_, -limit_ + static_cast<float>(first) * width),
          std::min(max_, -limit_ + static_cast<float>(last + 1) * width)};
}

// Inside the range the error of rounding to steps of d is uniform: d^2 / 12. Outside it is the distance to the edge.
double HistogramObserver::expected_error(Range range, int levels) const {
  const double step = (static_cast<double>(range.hi) - static_cast<double>(range.lo)) / levels;
  const double rounding = step * step / 12;
  const double width = 2.0 * static_cast<double>(limit_) / kBins;
  double error = 0;
  for (int i = 0; i < kBins; ++i) {
    const auto n = static_cast<double>(bins_[static_cast<size_t>(i)]);
    if (n == 0) continue;
    const double centre = -static_cast<double>(limit_) + (i + 0.5) * width;
    const double outside =
        std::max({static_cast<double>(range.lo) - centre, centre - static_cast<double>(range.hi), 0.0});
    error += n * (rounding + outside * outside);
  }
  return error;
}

// Coordinate descent over the two edges, each a fraction of its extreme.
Range HistogramObserver::mse_range(int levels) const {
  constexpr int kSteps = 100;
  Range best = extremes();
  double best_error = expected_error(best, levels);
  for (int round = 0; round < 2; ++round) {
    for (const bool high : {true, false}) {
      for (int i = kSteps; i >= 5; --i) {
        Range candidate = best;
        (high ? candidate.hi : candidate.lo) = (high ? max_ : min_) * static_cast<float>(i) / kSteps;
        if (!(candidate.hi > candidate.lo)) continue;
        const double e = expected_error(candidate, levels);
        if (e < best_error) {
          best_error = e;
          best = candidate;
        }
      }
    }
  }
  return best;
}

}  // namespace lowp::quant
