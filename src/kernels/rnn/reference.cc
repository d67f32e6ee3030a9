#define LOWP_TARGET rnn_reference
#include "kernels/rnn/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/gemm/reference.h"
#include "simd/math.h"

namespace lowp::kernels::reference {
namespace {

namespace v = lowp::rnn_reference;

// One item's recurrence over one row of states.
class Item {
 public:
  Item(const RnnArgs& a, int64_t item, BF16Products bf16)
      : a_(a), item_(item), bf16_(bf16), n_(static_cast<size_t>(a.hidden)), h_(n_, 0.0f), c_(n_, 0.0f) {
    if (a.h0 != nullptr) std::copy_n(a.h0 + item * a.hidden, n_, h_.begin());
    if (a.c0 != nullptr) std::copy_n(a.c0 + item * a.hidden, n_, c_.begin());
  }

  void run() {
    const int64_t length = a_.lengths != nullptr ? a_.lengths[item_] : a_.steps;
    for (int64_t s = 0; s < length; ++s) {
      const int64_t row = (a_.reverse ? length - 1 - s : s) * a_.batch + item_;
      first_ = s == 0 && a_.h0 == nullptr;
      xw_ = a_.xw + row * rnn_gates(a_.kind) * a_.hidden;
      gates_ = a_.gates != nullptr ? a_.gates + row * 4 * a_.hidden : nullptr;
      a_.kind == RnnKind::kLstm ? lstm() : gru();
      if (a_.y != nullptr) std::copy(h_.begin(), h_.end(), a_.y + row * a_.hidden);
      if (a_.cells != nullptr) std::copy(c_.begin(), c_.end(), a_.cells + row * a_.hidden);
    }
    auto clear = [&](float* p, int64_t t, size_t width) {
      if (p != nullptr) std::fill_n(p + static_cast<size_t>(t * a_.batch + item_) * width, width, 0.0f);
    };
    for (int64_t t = length; t < a_.steps; ++t) {
      clear(a_.y, t, n_);
      clear(a_.cells, t, n_);
      clear(a_.gates, t, 4 * n_);
    }
    if (a_.y_h != nullptr) std::copy(h_.begin(), h_.end(), a_.y_h + item_ * a_.hidden);
    if (a_.y_c != nullptr) std::copy(c_.begin(), c_.end(), a_.y_c + item_ * a_.hidden);
  }

 private:
  bool int8() const { return a_.r_kind == WeightKind::kS8; }
  float sigmoid(float x) const { return v::first(int8() ? v::sigmoid_coarse(v::set(x)) : v::sigmoid(v::set(x))); }
  float tanh(float x) const { return v::first(int8() ? v::tanh_coarse(v::set(x)) : v::tanh(v::set(x))); }
  float clip(float x) const { return a_.clip > 0 ? std::min(a_.clip, std::max(-a_.clip, x)) : x; }

  // x times `gates` gates of R from gate `first` on, which start a packed matrix of their own.
  std::vector<float> product(const std::vector<float>& x, int64_t gates, int64_t first) const {
    std::vector<float> out(n_ * static_cast<size_t>(gates));
    std::vector<uint8_t> q(n_);
    GemmArgs g;
    g.m = 1;
    g.n = gates * a_.hidden;
    g.k = a_.hidden;
    g.lda = g.k;
    g.ldc = g.n;
    g.b_kind = a_.r_kind;
    g.int8_class = a_.int8_class;
    g.a = x.data();
    g.b = static_cast<const char*>(a_.r) + (first > 0 ? packed_bytes(a_.r_kind, a_.hidden, first * a_.hidden) : 0);
    g.c = out.data();
    if (int8()) {
      for (size_t i = 0; i < n_; ++i) {
        const float low = static_cast<float>(-a_.h_zero), high = static_cast<float>(a_.h_max - a_.h_zero);
        const float v = std::nearbyint(std::min(high, std::max(low, x[i] * a_.h_inv_scale)));
        q[i] = static_cast<uint8_t>(static_cast<int32_t>(v) + a_.h_zero);
      }
      g.a_dtype = DType::kU8;
      g.a = q.data();
      g.epilogue.scale = a_.r_scale + first * a_.hidden;
      g.epilogue.bias_s32 = a_.r_bias + first * a_.hidden;
    }
    reference::gemm(g, bf16_);
    return out;
  }

  // Without a state there is no product to add.
  float sum(size_t gate, size_t j, const std::vector<float>& acc, size_t acc_gate) const {
    const float x = xw_[gate * n_ + j];
    return first_ ? x : x + acc[acc_gate * n_ + j];
  }

  void keep(size_t gate, size_t j, float v) const {
    if (gates_ != nullptr) gates_[gate * n_ + j] = v;
  }

  void lstm() {
    const std::vector<float> acc = product(h_, 4, 0);
    const float* p = a_.peephole;
    for (size_t j = 0; j < n_; ++j) {
      float i = sum(0, j, acc, 0), o = sum(1, j, acc, 1), f = sum(2, j, acc, 2);
      if (p != nullptr) i = std::fma(p[j], c_[j], i), f = std::fma(p[2 * n_ + j], c_[j], f);
      i = sigmoid(clip(i));
      f = a_.coupled ? 1.0f - i : sigmoid(clip(f));
      const float candidate = tanh(clip(sum(3, j, acc, 3))), product = i * candidate;
      c_[j] = std::fma(f, c_[j], product);
      if (p != nullptr) o = std::fma(p[n_ + j], c_[j], o);
      o = sigmoid(clip(o));
      h_[j] = o * tanh(clip(c_[j]));
      keep(0, j, i), keep(1, j, o), keep(2, j, f), keep(3, j, candidate);
    }
  }

  void gru() {
    const std::vector<float> gates = product(h_, 2, 0);
    std::vector<float> inner, z(n_), r(n_), next(n_);
    for (size_t j = 0; j < n_; ++j) {
      z[j] = sigmoid(clip(sum(0, j, gates, 0)));
      r[j] = sigmoid(clip(sum(1, j, gates, 1)));
      next[j] = r[j] * h_[j];
    }
    inner = product(a_.linear_before_reset ? h_ : next, 1, 2);
    for (size_t j = 0; j < n_; ++j) {
      float x;
      if (a_.linear_before_reset) {
        float v = first_ ? 0.0f : inner[j];
        if (a_.hidden_bias != nullptr) v = v + a_.hidden_bias[j];
        x = std::fma(r[j], v, xw_[2 * n_ + j]);
        next[j] = v;
      } else {
        x = sum(2, j, inner, 0);
      }
      const float candidate = tanh(clip(x));
      keep(0, j, z[j]), keep(1, j, r[j]), keep(2, j, candidate), keep(3, j, next[j]);
      h_[j] = std::fma(z[j], h_[j] - candidate, candidate);
    }
  }

  const RnnArgs& a_;
  int64_t item_;
  BF16Products bf16_;
  size_t n_;
  std::vector<float> h_, c_;
  const float* xw_ = nullptr;
  float* gates_ = nullptr;
  bool first_ = false;
};

}  // namespace

void rnn(const RnnArgs& a, BF16Products bf16) {
  for (int64_t item = 0; item < a.batch; ++item) Item(a, item, bf16).run();
}

}  // namespace lowp::kernels::reference
