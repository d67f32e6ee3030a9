#include "kernels/rnn/rnn_gradient.h"

#include <cstring>

#include "base/align.h"
#include "kernels/gemm/gemm.h"
#include "kernels/reduce/reduce.h"
#include "kernels/rnn/gradient_table.h"
#include "kernels/rnn/pack.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(RnnGradientTable, rnn_gradient_table)

namespace lowp::kernels {
namespace {

// Units worth a thread of their own, as in rnn.cc.
constexpr int64_t kGrainUnits = 512;

// A product for dh_prev, whose right operand are the rows of so many gates of R.
GemmArgs back_product(const RnnGradientArgs& a, int64_t gates) {
  GemmArgs g;
  g.m = a.batch;
  g.n = a.hidden;
  g.k = gates * a.hidden;
  g.b_kind = a.r_kind;
  g.lda = rnn_gates(a.kind) * a.hidden;
  g.ldc = a.hidden;
  return g;
}

// Gates of R that are one product: all of them, or z and r apart from h.
bool two_products(const RnnGradientArgs& a) { return a.kind == RnnKind::kGru && !a.linear_before_reset; }

// The product for dR of `gates` gates: rows of `left`, whose gates are width apart, times rows of `right`.
MatmulArgs weight_product(const RnnGradientArgs& a, int64_t rows, int64_t gates, int64_t width, int64_t right_width) {
  MatmulArgs m;
  m.bf16 = a.r_kind == WeightKind::kBF16;
  m.m = gates * a.hidden;
  m.n = a.hidden;
  m.k = rows;
  m.lda = 1;
  m.a_col = width;
  m.b_row = right_width;
  m.b_col = 1;
  m.ldc = a.hidden;
  return m;
}

// Whether y itself, a step further, has the rows of h before each step.
bool shifted_rows(const RnnGradientArgs& a) { return a.lengths == nullptr && a.h0 == nullptr; }
int64_t weight_rows(const RnnGradientArgs& a) {
  return (shifted_rows(a) ? std::max<int64_t>(a.steps - 1, 0) : a.steps) * a.batch;
}

struct Layout {
  size_t packed, acc, keep, dc, d, dq, h_prev, products, gemm, bytes;
};
Layout layout_of(const RnnGradientArgs& a, int threads) {
  const int64_t gates = rnn_gates(a.kind), n = a.hidden;
  const auto floats = [](int64_t count) { return static_cast<size_t>(count) * sizeof(float); };
  const bool gru = a.kind == RnnKind::kGru;
  Layout l{};
  size_t at = 0;
  auto take = [&](size_t bytes) {
    const size_t offset = at;
    at += align64(bytes);
    return offset;
  };
  const int64_t state = a.batch * n;
  l.packed = take(packed_bytes(a.r_kind, (two_products(a) ? 2 : gates) * n, n) +
                  (two_products(a) ? packed_bytes(a.r_kind, n, n) : 0));
  l.acc = take(floats(state));
  l.keep = take(gru ? floats(state) : 0);
  l.dc = take(gru ? 0 : floats(state));
  l.d = take(floats(gates * state));
  l.dq = take(!gru ? 0 : floats(two_products(a) ? state : a.steps * state));
  l.h_prev = take(a.dr == nullptr || shifted_rows(a) ? 0 : floats(a.steps * state));
  l.products = take(a.dpeephole == nullptr ? 0 : floats(a.steps * 3 * state));
  size_t gemm_bytes = gemm_scratch(back_product(a, two_products(a) ? 2 : gates), threads);
  if (two_products(a)) gemm_bytes = std::max(gemm_bytes, gemm_scratch(back_product(a, 1), threads));
  if (a.dr != nullptr) {
    const int64_t rows = weight_rows(a);
    gemm_bytes = std::max(gemm_bytes, matmul_scratch(weight_product(a, rows, gru ? 2 : 4, gates * n, n), threads));
    if (gru) {
      const bool own = two_products(a);  // the rows of r h are those of all steps
      gemm_bytes = std::max(gemm_bytes, matmul_scratch(weight_product(a, own ? a.steps * a.batch : rows, 1,
                                                                      own ? gates * n : n, own ? 4 * n : n),
                                                       threads));
    }
  }
  l.gemm = take(gemm_bytes);
  l.bytes = at;
  return l;
}

class BackLoop {
 public:
  BackLoop(const RnnGradientArgs& a, void* scratch, int threads)
      : a_(a), table_(LOWP_SELECT_TABLE(rnn_gradient_table)), threads_(threads) {
    const Layout l = layout_of(a, threads);
    char* base = static_cast<char*>(scratch);
    auto floats = [&](size_t offset) { return reinterpret_cast<float*>(base + offset); };
    packed_ = base + l.packed;
    acc_ = floats(l.acc);
    gemm_ = base + l.gemm;
    const bool gru = a.kind == RnnKind::kGru;
    s_ = {.step = 0,
          .acc = acc_,
          .keep = gru ? floats(l.keep) : nullptr,
          .dc = gru ? nullptr : floats(l.dc),
          .d = floats(l.d),
          .dq = gru ? floats(l.dq) : nullptr,
          .h_prev = a.dr == nullptr || shifted_rows(a) ? nullptr : floats(l.h_prev),
          .products = a.dpeephole == nullptr ? nullptr : floats(l.products)};
  }

  void run() {
    pack();
    const size_t state = static_cast<size_t>(a_.batch * a_.hidden) * sizeof(float);
    if (s_.dc != nullptr) a_.dc != nullptr ? std::memcpy(s_.dc, a_.dc, state) : std::memset(s_.dc, 0, state);
    for (s_.step = a_.steps - 1; s_.step >= 0; --s_.step) step();
    initial_states();
    if (a_.dr != nullptr) weights();
    if (a_.dpeephole != nullptr) column_sums(s_.products, a_.dpeephole, 3);
    if (a_.dhidden_bias != nullptr) column_sums(s_.dq, a_.dhidden_bias, 1);
  }

 private:
  void pack() {
    const int64_t n = a_.hidden, gates = rnn_gates(a_.kind);
    const int64_t first = two_products(a_) ? 2 : gates;
    second_ = packed_ + packed_bytes(a_.r_kind, first * n, n);
    pack_rows(a_.r_kind, {false, a_.r, n, first * n, n}, packed_, threads_);
    if (two_products(a_)) pack_rows(a_.r_kind, {false, a_.r + 2 * n * n, n, n, n}, second_, threads_);
  }

  void multiply(const float* left, const char* packed, int64_t gates, float* out) {
    GemmArgs g = back_product(a_, gates);
    g.a = left;
    g.b = packed;
    g.c = out;
    // What the last call read last is still in cache.
    g.backwards = s_.step % 2 != 0;
    gemm(g, gemm_, threads_);
  }

  void step() {
    // dh of the first step's own state is for dh0 only.
    const bool needed = s_.step > 0 || a_.dh0 != nullptr;
    if (a_.kind == RnnKind::kLstm) {
      units(table_.lstm);
      if (needed) multiply(s_.d, packed_, 4, acc_);
    } else if (a_.linear_before_reset) {
      units(table_.gru);
      if (needed) multiply(s_.d, packed_, 3, acc_);
    } else {
      units(table_.gru_first);
      multiply(s_.d + 2 * a_.hidden, second_, 1, s_.dq);
      units(table_.gru_second);
      if (needed) multiply(s_.d, packed_, 2, acc_);
    }
  }

  void units(RnnBackFn fn) {
    const int64_t n = a_.hidden;
    if (a_.batch > 1) {
      parallel_ranges(threads_, a_.batch, kGrainUnits / std::max<int64_t>(n, 1) + 1, 1,
                      [&](int64_t begin, int64_t end) {
                        for (int64_t item = begin; item < end; ++item) fn(a_, s_, item, 0, n);
                      });
    } else {
      parallel_ranges(threads_, n, kGrainUnits, 16, [&](int64_t begin, int64_t end) { fn(a_, s_, 0, begin, end); });
    }
  }

  void initial_states() {
    const int64_t n = a_.hidden;
    if (a_.dc0 != nullptr) std::memcpy(a_.dc0, s_.dc, static_cast<size_t>(a_.batch * n) * sizeof(float));
    if (a_.dh0 == nullptr) return;
    for (int64_t item = 0; item < a_.batch; ++item) {
      const bool ran = (a_.lengths != nullptr ? a_.lengths[item] : a_.steps) > 0;
      for (int64_t j = item * n; j < (item + 1) * n; ++j) {
        const float passed = a_.dh != nullptr ? a_.dh[j] : 0.0f;
        a_.dh0[j] = !ran ? passed : s_.keep != nullptr ? acc_[j] + s_.keep[j] : acc_[j];
      }
    }
  }

  void weights() {
    const int64_t n = a_.hidden, gates = rnn_gates(a_.kind), rows = weight_rows(a_);
    // Rows of dxw and of h before them.
    const int64_t skipped = shifted_rows(a_) && !a_.reverse ? a_.batch : 0;
    const float* h = shifted_rows(a_) ? a_.y + (a_.reverse ? a_.batch * n : 0) : s_.h_prev;
    auto product = [&](MatmulArgs m, const float* left, const float* right, float* out) {
      m.a = left;
      m.b = right;
      m.c = out;
      matmul(m, gemm_, threads_);
    };
    const float* dxw = a_.dxw + skipped * gates * n;
    if (a_.kind == RnnKind::kLstm) return product(weight_product(a_, rows, 4, 4 * n, n), dxw, h, a_.dr);
    product(weight_product(a_, rows, 2, 3 * n, n), dxw, h, a_.dr);
    float* last = a_.dr + 2 * n * n;
    if (a_.linear_before_reset) {
      product(weight_product(a_, rows, 1, n, n), s_.dq + skipped * n, h, last);
    } else {
      product(weight_product(a_, a_.steps * a_.batch, 1, 3 * n, 4 * n), a_.dxw + 2 * n, a_.gates + 3 * n, last);
    }
  }

  void column_sums(const float* rows, float* out, int64_t width) {
    reduce_f32(Reduce::kSum, rows, out, 1, a_.steps * a_.batch, width * a_.hidden, threads_);
  }

  const RnnGradientArgs& a_;
  const RnnGradientTable& table_;
  int threads_;
  char* packed_;
  char* second_ = nullptr;
  float* acc_;
  char* gemm_;
  RnnBackStep s_{};
};

}  // namespace

size_t rnn_gradient_scratch(const RnnGradientArgs& args, int threads) { return layout_of(args, threads).bytes; }

void rnn_gradient(const RnnGradientArgs& args, void* scratch, int threads) {
  if (args.batch == 0 || args.hidden == 0) return;
  BackLoop(args, scratch, threads).run();
}

}  // namespace lowp::kernels
