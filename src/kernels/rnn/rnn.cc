#include "kernels/rnn/rnn.h"

#include <cstring>

#include "base/align.h"
#include "kernels/gemm/gemm.h"
#include "kernels/rnn/pack.h"
#include "kernels/rnn/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(RnnTable, rnn_table)

namespace lowp::kernels {
namespace {

// One product with a part of R: `columns` gates' units from column `first` of the scales and biases on.
GemmArgs product(const RnnArgs& a, int64_t columns, int64_t first, const void* packed) {
  GemmArgs g;
  g.m = a.batch;
  g.n = columns;
  g.k = a.hidden;
  const bool int8 = a.r_kind == WeightKind::kS8;
  g.a_dtype = int8 ? DType::kU8 : DType::kF32;
  g.b_kind = a.r_kind;
  g.int8_class = a.int8_class;
  g.lda = a.hidden;
  g.b = packed;
  g.ldc = columns;
  if (int8) {
    g.epilogue.scale = a.r_scale == nullptr ? nullptr : a.r_scale + first;
    g.epilogue.bias_s32 = a.r_bias == nullptr ? nullptr : a.r_bias + first;
  }
  return g;
}

// R^T in one piece or two.
struct Products {
  GemmArgs first, second;  // second.n is 0 for LSTM
};
Products products_of(const RnnArgs& a) {
  const int64_t n = a.hidden;
  if (a.kind == RnnKind::kLstm) return {product(a, 4 * n, 0, a.r), product(a, 0, 0, nullptr)};
  const void* second = a.r == nullptr ? nullptr : static_cast<const char*>(a.r) + packed_bytes(a.r_kind, n, 2 * n);
  Products p{product(a, 2 * n, 0, a.r), product(a, n, 2 * n, second)};
  // Both go to one row of three gates where they have one operand.
  if (a.linear_before_reset) p.first.ldc = p.second.ldc = 3 * n;
  return p;
}

struct Layout {
  size_t h, c, z, rh, q, acc, gemm, bytes;
};
Layout layout_of(const RnnArgs& a, int threads) {
  const size_t state = align64(static_cast<size_t>(a.batch * a.hidden) * sizeof(float));
  const Products p = products_of(a);
  Layout l{};
  size_t at = 0;
  auto take = [&](size_t bytes) {
    const size_t offset = at;
    at += align64(bytes);
    return offset;
  };
  l.h = take(state);
  l.c = take(state);
  l.z = take(a.kind == RnnKind::kGru ? state : 0);
  l.rh = take(a.kind == RnnKind::kGru ? state : 0);
  l.q = take(state / 4);
  l.acc = take(static_cast<size_t>(rnn_gates(a.kind)) * state);
  l.gemm = take(std::max(gemm_scratch(p.first, threads), p.second.n > 0 ? gemm_scratch(p.second, threads) : 0));
  l.bytes = at;
  return l;
}

// Units worth a thread of their own: a vector of gates takes some 200 cycles, waking a worker some thousand.
constexpr int64_t kGrainUnits = 512;

class Loop {
 public:
  Loop(const RnnArgs& a, void* scratch, int threads)
      : a_(a),
        table_(LOWP_SELECT_TABLE(rnn_table)),
        units_(a.r_kind == WeightKind::kS8 ? table_.coarse : table_.exact),
        threads_(threads),
        products_(products_of(a)) {
    const Layout l = layout_of(a, threads);
    char* base = static_cast<char*>(scratch);
    auto floats = [&](size_t offset) { return reinterpret_cast<float*>(base + offset); };
    acc_ = floats(l.acc);
    gemm_ = base + l.gemm;
    s_ = {.step = 0,
          .acc = nullptr,
          .h = floats(l.h),
          .c = floats(l.c),
          .z = floats(l.z),
          .rh = floats(l.rh),
          .q = a.r_kind == WeightKind::kS8 ? reinterpret_cast<uint8_t*>(base + l.q) : nullptr};
  }

  void run() {
    const size_t state = static_cast<size_t>(a_.batch * a_.hidden) * sizeof(float);
    a_.h0 != nullptr ? std::memcpy(s_.h, a_.h0, state) : std::memset(s_.h, 0, state);
    a_.c0 != nullptr ? std::memcpy(s_.c, a_.c0, state) : std::memset(s_.c, 0, state);
    bool zero = a_.h0 == nullptr;
    for (s_.step = 0; s_.step < a_.steps; ++s_.step, zero = false) {
      if (s_.q != nullptr && s_.step == 0) units(table_.quantize);
      step(zero);
    }
    if (a_.y_h != nullptr) std::memcpy(a_.y_h, s_.h, state);
    if (a_.y_c != nullptr) std::memcpy(a_.y_c, s_.c, state);
  }

 private:
  void step(bool zero) {
    if (a_.kind == RnnKind::kLstm) {
      multiply(products_.first, s_.h, acc_, zero);
      units(units_.lstm);
    } else if (a_.linear_before_reset) {
      multiply(products_.second, s_.h, acc_ + 2 * a_.hidden, zero);
      multiply(products_.first, s_.h, acc_, zero);
      units(units_.gru);
    } else {
      multiply(products_.first, s_.h, acc_, zero);
      units(units_.gru_gates);
      multiply(products_.second, s_.rh, acc_, zero);
      units(units_.gru_finish);
    }
  }

  void multiply(GemmArgs g, const float* x, float* out, bool zero) {
    s_.acc = zero ? nullptr : acc_;
    if (zero) return;
    g.a = s_.q != nullptr ? static_cast<const void*>(s_.q) : x;
    g.c = out;
    // Every other step from the last panel to the first: what the previous step read last is still in cache. R of 1024
    // units is 4 MiB in INT8, twice many a core's L2.
    g.backwards = s_.step % 2 != 0;
    gemm(g, gemm_, threads_);
  }

  void units(RnnUnitsFn fn) {
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

  const RnnArgs& a_;
  const RnnTable& table_;
  const RnnUnits& units_;
  int threads_;
  Products products_;
  RnnStep s_{};
  float* acc_;
  char* gemm_;
};

}  // namespace

size_t packed_rnn_bytes(WeightKind kind, RnnKind rnn, int64_t hidden) {
  if (rnn == RnnKind::kLstm) return packed_bytes(kind, hidden, 4 * hidden);
  return packed_bytes(kind, hidden, 2 * hidden) + packed_bytes(kind, hidden, hidden);
}

void pack_rnn(WeightKind kind, RnnKind rnn, DType r_dtype, const void* r, int64_t hidden, void* dst) {
  if (rnn == RnnKind::kLstm) return pack(kind, r_dtype, r, hidden, true, hidden, 4 * hidden, dst);
  pack(kind, r_dtype, r, hidden, true, hidden, 2 * hidden, dst);
  const char* second = static_cast<const char*>(r) + 2 * hidden * hidden * dtype_bits(r_dtype) / 8;
  pack(kind, r_dtype, second, hidden, true, hidden, hidden,
       static_cast<char*>(dst) + packed_bytes(kind, hidden, 2 * hidden));
}

void pack_changing_rnn(WeightKind kind, RnnKind rnn, const float* r, int64_t hidden, void* dst, int threads) {
  char* to = static_cast<char*>(dst);
  if (rnn == RnnKind::kLstm) return pack_rows(kind, {true, r, hidden, hidden, 4 * hidden}, to, threads);
  pack_rows(kind, {true, r, hidden, hidden, 2 * hidden}, to, threads);
  pack_rows(kind, {true, r + 2 * hidden * hidden, hidden, hidden, hidden}, to + packed_bytes(kind, hidden, 2 * hidden),
            threads);
}

size_t rnn_scratch(const RnnArgs& args, int threads) { return layout_of(args, threads).bytes; }

void rnn(const RnnArgs& args, void* scratch, int threads) {
  if (args.batch == 0 || args.hidden == 0) return;
  Loop(args, scratch, threads).run();
}

}  // namespace lowp::kernels
