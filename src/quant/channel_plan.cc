#include "quant/channel_plan.h"

#include <algorithm>
#include <cmath>

#include "kernels/gemm/pack.h"
#include "ops/matmul.h"
#include "passes/match.h"

namespace lowp::quant {
namespace {

constexpr double kMostWeight = 127.0;

// Channels that an activation may have more than before: kernels compute columns by so many at least, so that fewer
// would not cost less. Half a per cent of BERT-base's 3,072, one per cent of MiniLM's 1,536.
constexpr double kMostCopies = kernels::kPanel;
// What copies have to leave of the expected error to be worth that: 4 dB less.
constexpr double kWorthCopies = 0.4;

// Scales and copies of an activation's channels, and what error they are expected to leave in the outputs of all
// readers.
class Search {
 public:
  Search(const ChannelObserver& seen, std::span<const WeightMatrix> readers, int levels)
      : seen_(seen),
        levels_(levels),
        top_weight_(static_cast<size_t>(readers[0].inputs())),
        power_(top_weight_.size()) {
    for (const WeightMatrix& w : readers) {
      Table& table = tables_.emplace_back(static_cast<size_t>(w.outputs()));
      for (size_t c = 0; c < top_weight_.size(); ++c) {
        for (size_t n = 0; n < table.outputs; ++n) {
          const float magnitude = std::abs(w.at(c, n));
          table.values.push_back(magnitude);
          top_weight_[c] = std::max(top_weight_[c], magnitude);
          power_[c] += static_cast<double>(magnitude) * static_cast<double>(magnitude);
        }
      }
    }
  }

  struct Choice {
    std::vector<float> scales;
    std::vector<int> copies;
    double error = 0;
  };
  Choice unscaled() const {
    Choice c{std::vector<float>(top_weight_.size(), 1.0F), std::vector<int>(top_weight_.size(), 1)};
    c.error = expected_error(c);
    return c;
  }
  Choice best(Choice start, double most_copies) const {
    constexpr int kSteps = 20;
    for (const double reach : {1, 2, 4, 8, 16}) {
      for (int i = 0; i <= kSteps; ++i) {
        Choice c;
        c.scales = scales_of(static_cast<double>(i) / kSteps, reach);
        c.copies = copies_of(c.scales, most_copies);
        c.error = expected_error(c);
        if (c.error < start.error) start = std::move(c);
      }
    }
    return start;
  }

 private:
  // |w| of a reader, [channels, outputs].
  struct Table {
    explicit Table(size_t n) : outputs(n) {}
    size_t outputs;
    std::vector<float> values;
  };

  std::vector<float> scales_of(double strength, double reach) const {
    std::vector<float> scales;
    for (size_t c = 0; c < top_weight_.size(); ++c) {
      const double x = std::max(-static_cast<double>(seen_.low(c)) * reach, static_cast<double>(seen_.high(c)));
      const auto w = static_cast<double>(top_weight_[c]);
      const double s = std::pow(x, strength) / std::pow(w, 1 - strength);
      // A channel that is always zero, or that nobody reads, stays as it is.
      const bool usable = x > 0 && w > 0 && s > 1e-15 && s < 1e15;
      scales.push_back(usable ? static_cast<float>(s) : 1.0F);
    }
    return scales;
  }

  // Copies of the channels whose scaled weights are largest, so that the largest share is as small as may be.
  std::vector<int> copies_of(const std::vector<float>& scales, double most) const {
    std::vector<int> copies(scales.size(), 1);
    if (most <= 0) return copies;
    std::vector<double> rows;
    for (size_t c = 0; c < scales.size(); ++c)
      rows.push_back(static_cast<double>(scales[c]) * static_cast<double>(top_weight_[c]));
    double high = std::ranges::max(rows);
    if (!(high > 0)) return copies;
    auto share = [](double row, double limit) { return std::max(1.0, std::ceil(row / limit - 1e-9)); };
    double low = high / (most + 1);
    constexpr int kHalvings = 30;
    for (int i = 0; i < kHalvings; ++i) {
      const double limit = std::sqrt(low * high);
      double more = 0;
      for (double row : rows) more += share(row, limit) - 1;
      (more > most ? low : high) = limit;
    }
    for (size_t c = 0; c < rows.size(); ++c) copies[c] = static_cast<int>(share(rows[c], high));
    return copies;
  }

  // Rounding to steps of d leaves d^2 / 12. Steps of the activation, (max x / s - min x / s) / levels, reach an output
  // by the squares of its scaled weights, for copies round alike; steps of its weights, max |s w / copies| / 127, by
  // the squares of the scaled inputs.
  double expected_error(const Choice& choice) const {
    double low = 0;
    double high = 0;
    double weights = 0;
    double inputs = 0;
    std::vector<float> shares;
    for (size_t c = 0; c < choice.scales.size(); ++c) {
      const auto s = static_cast<double>(choice.scales[c]);
      low = std::min(low, static_cast<double>(seen_.low(c)) / s);
      high = std::max(high, static_cast<double>(seen_.high(c)) / s);
      weights += s * s * power_[c];
      inputs += seen_.power(c) / (s * s);
      shares.push_back(choice.scales[c] / static_cast<float>(choice.copies[c]));
    }
    double columns = 0;
    for (const Table& table : tables_) {
      std::vector<float> top(table.outputs, 0.0F);
      const float* row = table.values.data();
      for (float share : shares) {
        for (size_t n = 0; n < table.outputs; ++n) top[n] = std::max(top[n], share * row[n]);
        row += table.outputs;
      }
      for (float t : top) columns += static_cast<double>(t) * static_cast<double>(t);
    }
    const double step = (high - low) / levels_;
    return (step * step * weights + columns / (kMostWeight * kMostWeight) * inputs) / 12;
  }

  const ChannelObserver& seen_;
  int levels_;
  std::vector<Table> tables_;
  std::vector<float> top_weight_;  // of each channel, over all readers
  std::vector<double> power_;      // sum of the squares of its weights
};

// Channels in their order, the copies spread among them: kernels for seven bits add a few neighbours in 16 bits, where
// several large weights would not have room (kernels/gemm/pack.h).
std::vector<Channel> spread(const std::vector<int>& copies) {
  std::vector<Channel> more;
  for (size_t c = 0; c < copies.size(); ++c) {
    for (int i = 1; i < copies[c]; ++i) more.push_back({c, i, copies[c]});
  }
  // The copies of one channel far from each other.
  std::ranges::stable_sort(more, {}, [](const Channel& c) { return c.copy; });
  std::vector<Channel> channels;
  size_t next = 0;
  for (size_t c = 0; c < copies.size(); ++c) {
    channels.push_back({c, 0, copies[c]});
    for (; next < more.size() && (next + 1) * copies.size() <= (c + 1) * more.size(); ++next)
      channels.push_back(more[next]);
  }
  return channels;
}

}  // namespace

void ChannelObserver::observe(std::span<const float> values, int64_t channels) {
  const auto n = static_cast<size_t>(channels);
  low_.resize(n, 0.0F);
  high_.resize(n, 0.0F);
  squares_.resize(n, 0.0);
  for (size_t at = 0; at < values.size(); at += n) {
    for (size_t c = 0; c < n; ++c) {
      const float v = values[at + c];
      low_[c] = std::min(low_[c], v);
      high_[c] = std::max(high_[c], v);
      squares_[c] += static_cast<double>(v) * static_cast<double>(v);
    }
    ++rows_;
  }
}

WeightMatrix::WeightMatrix(const ir::Node* product)
    : transposed_(passes::is_op(product, "Gemm") && product->attrs.get<ops::GemmAttrs>().trans_b),
      weights_(product->inputs[1]->constant) {
  inputs_ = weights_.extent(transposed_ ? 1 : 0);
  outputs_ = weights_.extent(transposed_ ? 0 : 1);
  input_stride_ = transposed_ ? 1 : outputs_;
  output_stride_ = transposed_ ? inputs_ : 1;
}

ir::Tensor WeightMatrix::computing(const ChannelPlan& plan, std::span<const float> factors) const {
  const auto n = static_cast<int64_t>(plan.channels.size());
  ir::Tensor y = ir::Tensor::zeros(DType::kF32, transposed_ ? Extents{n, inputs_} : Extents{inputs_, n});
  auto* out = y.mutable_data<float>();
  for (int64_t i = 0; i < inputs_; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const size_t source = plan.channels[static_cast<size_t>(j)].source;
      out[transposed_ ? j * inputs_ + i : i * n + j] = at(static_cast<size_t>(i), source) * factors[source];
    }
  }
  return y;
}

ir::Tensor WeightMatrix::reading(const ChannelPlan& plan) const {
  const auto n = static_cast<int64_t>(plan.channels.size());
  ir::Tensor y = ir::Tensor::zeros(DType::kF32, transposed_ ? Extents{outputs_, n} : Extents{n, outputs_});
  auto* out = y.mutable_data<float>();
  for (int64_t o = 0; o < outputs_; ++o) {
    auto share = [&](const Channel& c) {
      return at(c.source, static_cast<size_t>(o)) * plan.scales[c.source] / static_cast<float>(c.copies);
    };
    float top = 0;
    for (const Channel& c : plan.channels) top = std::max(top, std::abs(share(c)));
    const float step = top / static_cast<float>(kMostWeight);
    for (int64_t j = 0; j < n; ++j) {
      const Channel& c = plan.channels[static_cast<size_t>(j)];
      const float aside =
          (static_cast<float>(c.copy) - static_cast<float>(c.copies - 1) / 2) / static_cast<float>(c.copies);
      out[transposed_ ? o * n + j : j * outputs_ + o] = share(c) + aside * step;
    }
  }
  return y;
}

std::optional<ChannelPlan> plan_channels(const ChannelObserver& seen, std::span<const WeightMatrix> readers, int levels,
                                         bool may_copy) {
  const Search search(seen, readers, levels);
  const Search::Choice unscaled = search.unscaled();
  Search::Choice best = search.best(unscaled, 0);
  if (may_copy) {
    Search::Choice copied = search.best(unscaled, kMostCopies);
    if (copied.error < kWorthCopies * best.error) best = std::move(copied);
  }
  if (!(best.error < unscaled.error)) return std::nullopt;
  return ChannelPlan{std::move(best.scales), spread(best.copies)};
}

}  // namespace lowp::quant
