#include "quant/weights.h"

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"

namespace lowp::quant {
namespace {

using kernels::Int8Class;

constexpr float kMost = 127.0F;

// One channel's weights, and the same in steps of a scale.
class Channel {
 public:
  Channel(const float* x, const ChannelOrder& order, Int8Class int8_class)
      : class_(int8_class), x_(order.offsets.size()), q_(x_.size()), best_q_(x_.size()) {
    for (size_t k = 0; k < x_.size(); ++k) x_[k] = x[order.offsets[k]];
  }

  float largest() const {
    float top = 0;
    for (float x : x_) top = std::max(top, std::abs(x));
    return top;
  }

  // Steps of `factor` down and up from `scale`, each way until two more do not help.
  void search(float scale, float least) {
    keep_if_better(std::max(scale, least));
    for (const float factor : {0.96F, 1.08F}) {
      float at = best_scale_;
      for (int worse = 0; worse < 2;) {
        at *= factor;
        worse = keep_if_better(std::max(at, least)) ? 0 : worse + 1;
      }
    }
  }

  float scale() const { return best_scale_; }
  double error() const { return best_error_; }
  const std::vector<int8_t>& values() const { return best_q_; }

 private:
  bool keep_if_better(float scale) {
    round(scale);
    if (class_ != Int8Class::kExact8) limit_lanes(scale);
    double error = 0;
    for (size_t k = 0; k < x_.size(); ++k) {
      const float d = static_cast<float>(q_[k]) * scale - x_[k];
      error += static_cast<double>(d) * static_cast<double>(d);
    }
    if (best_error_ >= 0 && error >= best_error_) return false;
    best_error_ = error;
    best_scale_ = scale;
    best_q_ = q_;
    return true;
  }

  void round(float scale) {
    const float inverse = 1.0F / scale;
    for (size_t k = 0; k < x_.size(); ++k)
      q_[k] = static_cast<int8_t>(std::nearbyint(std::clamp(x_[k] * inverse, -kMost, kMost)));
  }

  void limit_lanes(float scale) {
    const auto k = static_cast<int64_t>(x_.size());
    for (int64_t first = 0; first < k; first += 2 * kernels::lane_weights(class_)) {
      for (const int64_t half : {0, 2}) {
        int64_t rows[kernels::kMaxLaneWeights];
        kernels::lane_rows(class_, first + half, rows);
        const int64_t* end =
            std::find_if(rows, rows + kernels::lane_weights(class_), [&](int64_t r) { return r >= k; });
        for (const int sign : {1, -1}) limit_lane(rows, end, sign, scale);
      }
    }
  }

  // The squared error is convex in every weight, so the cheapest step each time leads to the least error in all.
  void limit_lane(const int64_t* begin, const int64_t* end, int sign, float scale) {
    int sum = 0;
    for (const int64_t* r = begin; r != end; ++r) sum += std::max(0, sign * q_[static_cast<size_t>(*r)]);
    for (; sum > kernels::kLaneLimit; --sum) {
      size_t best = 0;
      float above = -INFINITY;  // how far the rounded weight is beyond the true one
      for (const int64_t* r = begin; r != end; ++r) {
        const auto at = static_cast<size_t>(*r);
        const float d = static_cast<float>(sign) * (static_cast<float>(q_[at]) * scale - x_[at]);
        if (sign * q_[at] > 0 && d > above) best = at, above = d;
      }
      q_[best] = static_cast<int8_t>(q_[best] - sign);
    }
  }

  Int8Class class_;
  std::vector<float> x_;
  std::vector<int8_t> q_, best_q_;
  float best_scale_ = 1;
  double best_error_ = -1;
};

}  // namespace

ChannelOrder ChannelOrder::along_axis(const ir::Tensor& w, int axis) {
  ChannelOrder order;
  order.channels = w.extent(axis);
  order.stride = 1;
  for (int i = axis + 1; i < w.rank(); ++i) order.stride *= w.extent(i);
  const int64_t block = order.channels * order.stride, outer = block == 0 ? 0 : w.size() / block;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < order.stride; ++i) order.offsets.push_back(o * block + i);
  }
  return order;
}

ChannelOrder ChannelOrder::of_filters(const ir::Tensor& w) {
  ChannelOrder order = along_axis(w, 0);
  const auto k = static_cast<int64_t>(order.offsets.size());
  const int64_t c = w.extent(1), taps = k / std::max<int64_t>(c, 1);
  for (int64_t i = 0; i < k; ++i) order.offsets[static_cast<size_t>(i)] = i % c * taps + i / c;
  return order;
}

QuantizedWeights quantize_weights(const ir::Tensor& w, const ChannelOrder& order, Int8Class int8_class,
                                  std::span<const float> least_scales) {
  QuantizedWeights q{ir::Tensor::zeros(DType::kI8, w.extents()), ir::Tensor::zeros(DType::kF32, {order.channels}),
                     std::vector<double>(static_cast<size_t>(order.channels))};
  auto* values = q.values.mutable_data<int8_t>();
  auto* scales = q.scales.mutable_data<float>();
  parallel_for(available_threads(), order.channels, [&](int64_t c) {
    Channel channel(w.data<float>() + c * order.stride, order, int8_class);
    const float top = channel.largest();
    scales[c] = 1.0F;
    if (!(top > 0) || !std::isfinite(top)) return;
    channel.search(top / kMost, least_scales.empty() ? 0.0F : least_scales[static_cast<size_t>(c)]);
    scales[c] = channel.scale();
    q.errors[static_cast<size_t>(c)] = channel.error();
    for (size_t k = 0; k < order.offsets.size(); ++k) values[c * order.stride + order.offsets[k]] = channel.values()[k];
  });
  return q;
}

QuantizedWeights quantize_weights_a7(const ir::Tensor& w, const ChannelOrder& order,
                                     std::span<const float> least_scales) {
  QuantizedWeights exact = quantize_weights(w, order, Int8Class::kExact8, least_scales);
  for (const Int8Class c : {Int8Class::kA7Oct, Int8Class::kA7Quad}) {
    QuantizedWeights q = quantize_weights(w, order, c, least_scales);
    double ratios = 0;
    for (size_t i = 0; i < q.errors.size(); ++i) {
      // Few weights may by chance be whole steps: what rounding leaves on average is 1/12 of a squared step for each.
      const double step = exact.scales.data<float>()[i];
      const double rounding = std::max(exact.errors[i], static_cast<double>(order.offsets.size()) * step * step / 12);
      ratios += rounding > 0 ? q.errors[i] / rounding : 1;
    }
    if (ratios <= 2 * static_cast<double>(q.errors.size())) return q;
  }
  return exact;
}

}  // namespace lowp::quant
