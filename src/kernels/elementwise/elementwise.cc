#include "kernels/elementwise/elementwise.h"

#include "kernels/convert/convert.h"
#include "kernels/elementwise/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ElementwiseTable, elementwise_table)

namespace lowp::kernels {
namespace {

const ElementwiseTable& table() { return LOWP_SELECT_TABLE(elementwise_table); }

// Runs body(run, a offset, b offset, y offset) over the nest: the innermost dimension is the run, the next one its
// rows.
template <typename Body>
void for_nest(const Broadcast& nest, int threads, Body&& body) {
  int inner = nest.rank - 1;
  int64_t n = nest.dims[inner];
  BinaryRun run = {1, n, 0, 0, n, static_cast<int>(nest.a_strides[inner]), static_cast<int>(nest.b_strides[inner])};
  if (n == 0) return;
  if (nest.rank == 1) {
    parallel_ranges(threads, n, kGrainElements, 64, [&](int64_t begin, int64_t end) {
      BinaryRun part = run;
      part.n = end - begin;
      body(part, begin * run.a_step, begin * run.b_step, begin);
    });
    return;
  }
  int row = inner - 1;
  run.a_row = nest.a_strides[row];
  run.b_row = nest.b_strides[row];
  int64_t rows = 1;
  for (int i = 0; i <= row; ++i) rows *= nest.dims[i];
  parallel_ranges(threads, rows, kGrainElements / n, 1, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      int64_t rest = begin / nest.dims[row], first = begin % nest.dims[row];
      int64_t a = first * run.a_row, b = first * run.b_row;
      for (int i = row - 1; i >= 0; --i) {
        int64_t index = rest % nest.dims[i];
        rest /= nest.dims[i];
        a += index * nest.a_strides[i];
        b += index * nest.b_strides[i];
      }
      BinaryRun part = run;
      part.rows = std::min(nest.dims[row] - first, end - begin);
      body(part, a, b, begin * n);
      begin += part.rows;
    }
  });
}

// Elements that are widened at a time: three buffers of them stay in L1.
constexpr int64_t kBlock = 2048;

// One run of a binary operation on 16-bit floats.
void binary_run_stored(const ElementwiseTable& t, Binary op, DType dtype, const BinaryRun& run, const void* a,
                       const void* b, void* y) {
  alignas(64) float wide_a[kBlock], wide_b[kBlock], wide_y[kBlock];
  for (int64_t r = 0; r < run.rows; ++r) {
    for (int64_t i = 0; i < run.n; i += kBlock) {
      BinaryRun part = {1, std::min(kBlock, run.n - i), 0, 0, 0, run.a_step, run.b_step};
      widen(dtype, stored_at(a, dtype, r * run.a_row + i * run.a_step), wide_a, run.a_step != 0 ? part.n : 1);
      widen(dtype, stored_at(b, dtype, r * run.b_row + i * run.b_step), wide_b, run.b_step != 0 ? part.n : 1);
      t.binary(op, part, wide_a, wide_b, wide_y);
      narrow(dtype, wide_y, stored_at(y, dtype, r * run.y_row + i), part.n);
    }
  }
}

}  // namespace

bool make_broadcast(const int64_t* a_shape, int a_rank, const int64_t* b_shape, int b_rank, Broadcast* out) {
  *out = {};
  int rank = std::max(a_rank, b_rank);
  int64_t a_stride = 1, b_stride = 1;
  // Innermost first; reversed at the end.
  for (int i = 1; i <= rank; ++i) {
    int64_t a = i <= a_rank ? a_shape[a_rank - i] : 1, b = i <= b_rank ? b_shape[b_rank - i] : 1;
    if (a != b && a != 1 && b != 1) return false;
    int64_t dim = a == 1 ? b : a;
    int64_t sa = a == 1 ? 0 : a_stride, sb = b == 1 ? 0 : b_stride;
    a_stride *= a;
    b_stride *= b;
    if (dim == 1) continue;
    int last = out->rank - 1;
    if (last >= 0 && sa == out->a_strides[last] * out->dims[last] && sb == out->b_strides[last] * out->dims[last]) {
      out->dims[last] *= dim;
      continue;
    }
    if (out->rank == kMaxBroadcastRank) return false;
    out->dims[out->rank] = dim;
    out->a_strides[out->rank] = sa;
    out->b_strides[out->rank] = sb;
    ++out->rank;
  }
  if (out->rank == 0) {
    out->rank = 1;
    out->dims[0] = 1;
    out->a_strides[0] = out->b_strides[0] = 1;
  }
  std::reverse(out->dims, out->dims + out->rank);
  std::reverse(out->a_strides, out->a_strides + out->rank);
  std::reverse(out->b_strides, out->b_strides + out->rank);
  return true;
}

void unary_f32(Unary op, UnaryParams params, const float* x, float* y, int64_t n, int threads) {
  const ElementwiseTable& t = table();
  parallel_ranges(threads, n, kGrainElements, 64,
                  [&](int64_t begin, int64_t end) { t.unary(op, params, x + begin, y + begin, end - begin); });
}

void binary_f32(Binary op, const Broadcast& nest, const float* a, const float* b, float* y, int threads) {
  const ElementwiseTable& t = table();
  for_nest(nest, threads, [&](const BinaryRun& run, int64_t ia, int64_t ib, int64_t iy) {
    t.binary(op, run, a + ia, b + ib, y + iy);
  });
}

void unary_stored(Unary op, UnaryParams params, DType dtype, const void* x, void* y, int64_t n, int threads) {
  if (dtype == DType::kF32)
    return unary_f32(op, params, static_cast<const float*>(x), static_cast<float*>(y), n, threads);
  const ElementwiseTable& t = table();
  parallel_ranges(threads, n, kGrainElements, 64, [&](int64_t begin, int64_t end) {
    alignas(64) float wide[kBlock];
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t count = std::min(kBlock, end - i);
      widen(dtype, stored_at(x, dtype, i), wide, count);
      t.unary(op, params, wide, wide, count);
      narrow(dtype, wide, stored_at(y, dtype, i), count);
    }
  });
}

void binary_stored(Binary op, DType dtype, const Broadcast& nest, const void* a, const void* b, void* y, int threads) {
  if (dtype == DType::kF32)
    return binary_f32(op, nest, static_cast<const float*>(a), static_cast<const float*>(b), static_cast<float*>(y),
                      threads);
  const ElementwiseTable& t = table();
  for_nest(nest, threads, [&](const BinaryRun& run, int64_t ia, int64_t ib, int64_t iy) {
    binary_run_stored(t, op, dtype, run, stored_at(a, dtype, ia), stored_at(b, dtype, ib), stored_at(y, dtype, iy));
  });
}

void binary_q8(const QuantizedBinaryArgs& args, const Broadcast& nest, const void* a, const void* b, void* y,
               int threads) {
  const ElementwiseTable& t = table();
  for_nest(nest, threads, [&](const BinaryRun& run, int64_t ia, int64_t ib, int64_t iy) {
    t.binary_q8(args, run, static_cast<const uint8_t*>(a) + ia, static_cast<const uint8_t*>(b) + ib,
                static_cast<uint8_t*>(y) + iy);
  });
}

void scale_shift_f32(const float* x, const float* scale, const float* shift, float* y, int64_t outer, int64_t channels,
                     int64_t inner, int threads) {
  const ElementwiseTable& t = table();
  if (outer * channels * inner == 0) return;
  if (inner == 1) {
    parallel_ranges(threads, outer, kGrainElements / channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        t.scale_shift_each(x + o * channels, scale, shift, y + o * channels, channels);
      }
    });
    return;
  }
  parallel_ranges(threads, outer * channels, kGrainElements / inner, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t c = r % channels;
      t.scale_shift_run(x + r * inner, scale[c], shift ? shift + c : nullptr, y + r * inner, inner);
    }
  });
}

void map_bytes(const uint8_t map[256], const uint8_t* x, uint8_t* y, int64_t n, int threads) {
  parallel_ranges(threads, n, 4 * kGrainElements, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = map[x[i]];
  });
}

}  // namespace lowp::kernels
