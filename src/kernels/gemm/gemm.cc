#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/driver.h"
#include "kernels/select.h"

namespace lowp {
namespace scalar {
extern const kernels::GemmTable gemm_kernels;
}
namespace emu512 {
extern const kernels::GemmTable gemm_kernels;
}
namespace emu_amx {
extern const kernels::GemmTable gemm_kernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const kernels::GemmTable gemm_kernels;
}
namespace avx2_vnni {
extern const kernels::GemmTable gemm_kernels;
}
namespace avx512 {
extern const kernels::GemmTable gemm_kernels;
}
namespace avx512_vnni {
extern const kernels::GemmTable gemm_kernels;
}
namespace avx512_bf16 {
extern const kernels::GemmTable gemm_kernels;
}
namespace avx512_amx {
extern const kernels::GemmTable gemm_kernels;
}
#endif
}  // namespace lowp

namespace lowp::kernels {
namespace {

// `own` with its null entries taken from `below`.
GemmTable inherit(const GemmTable& own, const GemmTable& below) {
  GemmTable t = own;
  auto fill = [](auto& entry, const auto& from) {
    if (entry == nullptr) entry = from;
  };
#define LOWP_GEMM_KERNEL(name, kind, what) fill(t.name, below.name);
#include "kernels/gemm/kernels.inc"
#undef LOWP_GEMM_KERNEL
  fill(t.gather, below.gather);
  fill(t.expand_bf16, below.expand_bf16);
  fill(t.expand_f16, below.expand_f16);
  fill(t.epilogue_f32, below.epilogue_f32);
  fill(t.epilogue_s32, below.epilogue_s32);
  return t;
}

struct Tables {
  GemmTable table[kTargetCount] = {};
  GemmTable& at(Target target) { return table[static_cast<int>(target)]; }
  Tables() {
    at(Target::k_scalar) = scalar::gemm_kernels;
    at(Target::k_emu512) = emu512::gemm_kernels;
    at(Target::k_emu_amx) = inherit(emu_amx::gemm_kernels, at(Target::k_emu512));
#if defined(__x86_64__)
    at(Target::k_avx2) = avx2::gemm_kernels;
    at(Target::k_avx2_vnni) = inherit(avx2_vnni::gemm_kernels, at(Target::k_avx2));
    at(Target::k_avx512) = avx512::gemm_kernels;
    at(Target::k_avx512_vnni) = inherit(avx512_vnni::gemm_kernels, at(Target::k_avx512));
    at(Target::k_avx512_bf16) = inherit(avx512_bf16::gemm_kernels, at(Target::k_avx512_vnni));
    at(Target::k_avx512_amx) = inherit(avx512_amx::gemm_kernels, at(Target::k_avx512_bf16));
#endif
  }
};

void contiguous_rows(const void* context, int64_t m0, int64_t count, int64_t, const void** out) {
  const GemmArgs& g = *static_cast<const GemmArgs*>(context);
  const int64_t row = g.lda * dtype_bits(g.a_dtype) / 8;
  const char* a = static_cast<const char*>(g.a) + m0 * row;
  for (int64_t i = 0; i < count; ++i) out[i] = a + i * row;
}

GemmJob job_of(const GemmArgs& g) {
  LOWP_CHECK(gemm_supported(g.a_dtype, g.b_kind));
  LOWP_CHECK(g.b_kind != WeightKind::kS8 || g.k <= kMaxInt8K);
  return {
      .m = g.m,
      .n = g.n,
      .taps = 1,
      .c = g.k,
      .a_dtype = g.a_dtype,
      .b_kind = g.b_kind,
      .int8_class = g.int8_class,
      .rows = contiguous_rows,
      .context = &g,
      .row_bytes = g.lda * dtype_bits(g.a_dtype) / 8,
      .even = g.m,
      .b = g.b,
      .c_out = g.c,
      .ldc = g.ldc,
      .epilogue = &g.epilogue,
      .backwards = g.backwards,
      .n0 = 0,
      .choice = g.choice,
  };
}

}  // namespace

const GemmTable* gemm_table(Target target) {
  static Tables tables;
  return &tables.at(target);
}

bool gemm_supported(DType a, WeightKind b) {
  switch (b) {
    case WeightKind::kF32: return a == DType::kF32 || a == DType::kBF16 || a == DType::kF16;
    case WeightKind::kBF16: return a == DType::kF32 || a == DType::kBF16;
    case WeightKind::kF16: return a == DType::kF32 || a == DType::kF16;
    case WeightKind::kS8: return a == DType::kU8 || a == DType::kI8;
  }
  return false;
}

BF16Products bf16_products(Target target) {
  const GemmTable& table = *gemm_table(target);
  return table.bf16_amx != nullptr   ? BF16Products::kTiles
         : table.bf16_dot != nullptr ? BF16Products::kPairs
                                     : BF16Products::kExpanded;
}

bool expands_weights(WeightKind kind) {
  return kind == WeightKind::kF16 ||
         (kind == WeightKind::kBF16 && bf16_products(active_target()) == BF16Products::kExpanded);
}

WeightKind product_kind(DType a, DType b) {
  const bool dot = a == DType::kBF16 && b == DType::kBF16 && !expands_weights(WeightKind::kBF16);
  return dot ? WeightKind::kBF16 : WeightKind::kF32;
}

std::vector<KernelChoice> gemm_candidates(const GemmArgs& args, int threads) {
  return job_candidates(job_of(args), threads);
}

size_t gemm_scratch(const GemmArgs& args, int threads) { return job_scratch(job_of(args), threads); }

void gemm(const GemmArgs& args, void* scratch, int threads) {
  LOWP_CHECK(args.b_kind != WeightKind::kS8 || args.epilogue.scale != nullptr);
  run_job(job_of(args), scratch, threads);
}

namespace {

// A transposed A is copied so many bytes of rows at a time: they stay in L3 beside the panels.
constexpr int64_t kCopiedBytes = 4 << 20;
// But so many rows at least, as each copy passes over all panels.
constexpr int64_t kMinCopiedRows = 192;
// Panels that are packed together, row by row: 8 of them are 8 neighbouring lines of a row of B.
constexpr int64_t kPackedTogether = 8;
constexpr int64_t kPackedRows = 64;  // whose lines are in L1 when the next panel reads the rest of them

// A product with a long K and few rows and columns, as gradients of weights are, is summed up in C block by block of K
// where a block of both operands stays in L2: copies of all of K would go through memory. Few, as C is read again too.
constexpr int64_t kBlockBytes = 768 << 10;

// Items of a batch run side by side where there are enough of them; else each is split.
struct MatmulPlan {
  WeightKind kind;  // of packed and copied operands
  int64_t element;  // bytes of theirs
  int64_t items;
  int64_t tasks;  // 1: threads work inside each item
  bool by_blocks;
  size_t packed;  // bytes of packed B, or of a block of it
  int64_t rows;   // of A copied at a time; 0: read in place
  size_t copied;  // bytes of them
  size_t task_bytes;
};

WeightKind kind_of(const MatmulArgs& g) {
  return product_kind(g.bf16 && g.dtype == DType::kF32 ? DType::kBF16 : g.dtype);
}

// Elements between copied rows of A.
int64_t copied_ld(const MatmulArgs& g) {
  const auto element = static_cast<int64_t>(weight_bytes(kind_of(g)));
  return copied_row_bytes(g.k * element) / element;
}

GemmArgs item_args(const MatmulArgs& g, int64_t rows) {
  const WeightKind kind = kind_of(g);
  return {
      .m = rows,
      .n = g.n,
      .k = g.k,
      .a_dtype = g.a_col == 1                ? g.dtype
                 : kind == WeightKind::kBF16 ? DType::kBF16
                                             : DType::kF32,
      .b_kind = kind,
      .int8_class = Int8Class::kExact8,
      .a = g.a,
      .lda = g.a_col == 1 ? g.lda : copied_ld(g),
      .b = nullptr,
      .c = g.c,
      .ldc = g.ldc,
      .epilogue = g.epilogue,
      .choice = {},
  };
}

}  // namespace

bool is_summed_by_blocks(const MatmulArgs& g) {
  const Epilogue& e = g.epilogue;
  const bool plain =
      e.out == DType::kF32 && e.bias == nullptr && e.residual == nullptr && e.activation == Activation::kNone;
  return plain && g.a_col != 1 && g.k >= 4 * kBlockK &&
         (g.m + g.n) * kBlockK * static_cast<int64_t>(weight_bytes(kind_of(g))) <= kBlockBytes;
}

namespace {

MatmulPlan plan_matmul(const MatmulArgs& g, int threads) {
  LOWP_CHECK(is_stored_float(g.dtype) && (g.a_col == 1 || g.lda == 1) && (g.b_col == 1 || g.b_row == 1));
  MatmulPlan p{};
  p.kind = kind_of(g);
  p.element = static_cast<int64_t>(weight_bytes(p.kind));
  p.items = g.batch[0] * g.batch[1] * g.batch[2];
  p.tasks = p.items >= threads ? threads : 1;
  p.by_blocks = is_summed_by_blocks(g);
  const int64_t k = p.by_blocks ? kBlockK : g.k;
  p.packed = (packed_bytes(p.kind, k, g.n) + 63) & ~size_t{63};
  if (g.a_col != 1) {
    MatmulArgs block = g;
    block.k = std::max<int64_t>(k, 1);
    const int64_t row = copied_ld(block) * p.element;
    p.rows = std::min(g.m, std::max(kCopiedBytes / row, kMinCopiedRows));
    p.copied = (static_cast<size_t>(p.rows * row) + 63) & ~size_t{63};
  }
  const int inner = p.tasks > 1 ? 1 : threads;
  // A last piece of fewer rows, or a last block, may be blocked differently.
  const int64_t rows = p.rows == 0 ? g.m : p.rows;
  const int64_t heights[] = {rows, rows == 0 ? 0 : g.m % rows}, depths[] = {k, k == 0 ? 0 : g.k % k};
  size_t most = 0;
  for (const int64_t depth : depths) {
    MatmulArgs block = g;
    block.k = depth;
    for (const int64_t height : heights) most = std::max(most, gemm_scratch(item_args(block, height), inner));
  }
  p.task_bytes = p.packed + p.copied + most;
  return p;
}

// Panels [first, first + kPackedTogether) of B.
void pack_panels(const MatmulArgs& g, const MatmulPlan& plan, const char* b, int64_t first, char* packed) {
  const auto size = static_cast<int64_t>(dtype_bits(g.dtype)) / 8;
  const int64_t panels = ceil_div(g.n, kPanel), last = std::min(first + kPackedTogether, panels);
  const bool plain = g.b_col == 1;
  const int64_t step = plain ? kPackedRows : g.k;
  for (int64_t k = 0; k < g.k; k += step) {
    for (int64_t p = first; p < last; ++p) {
      const int64_t n0 = p * kPanel, columns = std::min(kPanel, g.n - n0), rows = std::min(step, g.k - k);
      if (plan.kind == WeightKind::kBF16) {
        pair_panel({g.dtype, !plain, b + (k * g.b_row + n0 * g.b_col) * size, plain ? g.b_row : g.b_col, rows,
                    static_cast<int>(columns), packed + (p * round_up(g.k, 2) + k) * kPanel * plan.element});
        continue;
      }
      float* dst = reinterpret_cast<float*>(packed) + (p * g.k + k) * kPanel;
      if (columns < kPanel) std::memset(dst, 0, static_cast<size_t>(rows * kPanel) * sizeof(float));
      expand_matrix({g.dtype, !plain, b + (k * g.b_row + n0 * g.b_col) * size, plain ? g.b_row : g.b_col, rows, columns,
                     dst, kPanel});
    }
  }
}

// All panels of B.
void pack_panels(const MatmulArgs& g, const MatmulPlan& plan, const char* b, char* packed, int threads) {
  const int64_t groups = ceil_div(ceil_div(g.n, kPanel), kPackedTogether);
  parallel_for(threads, groups, [&](int64_t group) { pack_panels(g, plan, b, group * kPackedTogether, packed); });
}

// Rows of a transposed A, of which the first is at `a`.
void copy_rows(const MatmulArgs& g, const MatmulPlan& plan, const char* a, int64_t rows, char* copied, int threads) {
  const auto size = static_cast<int64_t>(dtype_bits(g.dtype)) / 8;
  parallel_ranges(threads, rows, kGrainElements / std::max<int64_t>(g.k, 1), 16, [&](int64_t begin, int64_t end) {
    const char* from = a + begin * size;
    const int64_t ld = copied_ld(g);
    char* to = copied + begin * ld * plan.element;
    if (plan.kind == WeightKind::kBF16)
      transpose_words({g.dtype, from, g.a_col, end - begin, g.k, to, ld});
    else
      expand_matrix({g.dtype, true, from, g.a_col, end - begin, g.k, reinterpret_cast<float*>(to), ld});
  });
}

// One item by blocks of K. Adding a block's sum to C is the contract's s = s + p.
void sum_blocks(const MatmulArgs& g, const MatmulPlan& p, const char* a, const char* b, float* c, char* scratch,
                int threads) {
  const auto size = static_cast<int64_t>(dtype_bits(g.dtype)) / 8;
  char* packed = scratch;
  char* copied = scratch + p.packed;
  for (int64_t k = 0; k < g.k; k += kBlockK) {
    MatmulArgs block = g;
    block.k = std::min(kBlockK, g.k - k);
    pack_panels(block, p, b + k * g.b_row * size, packed, threads);
    copy_rows(block, p, a + k * g.a_col * size, g.m, copied, threads);
    GemmArgs part = item_args(block, g.m);
    part.a = copied;
    part.b = packed;
    part.c = c;
    if (k > 0) part.epilogue.residual = c, part.epilogue.residual_ld = g.ldc;
    gemm(part, scratch + p.packed + p.copied, threads);
  }
}

}  // namespace

size_t matmul_scratch(const MatmulArgs& args, int threads) {
  const MatmulPlan p = plan_matmul(args, threads);
  return p.task_bytes * static_cast<size_t>(p.tasks);
}

void matmul(const MatmulArgs& g, void* scratch, int threads) {
  const MatmulPlan p = plan_matmul(g, threads);
  if (p.items == 0 || g.m == 0 || g.n == 0) return;
  const auto size = static_cast<int64_t>(dtype_bits(g.dtype)) / 8;
  const int64_t out_bytes = dtype_bits(g.epilogue.out) / 8;
  const int64_t residual_bytes = dtype_bits(g.epilogue.residual_dtype) / 8;
  const int inner = p.tasks > 1 ? 1 : threads;
  parallel_for(p.tasks > 1 ? threads : 1, p.tasks, [&](int64_t task) {
    char* mine = static_cast<char*>(scratch) + p.task_bytes * static_cast<size_t>(task);
    char* packed = mine;
    char* copied = mine + p.packed;
    char* gemm_own = mine + p.packed + p.copied;
    const char* packed_from = nullptr;
    for (int64_t i = p.items * task / p.tasks; i < p.items * (task + 1) / p.tasks; ++i) {
      const int64_t index[3] = {i / (g.batch[1] * g.batch[2]), i / g.batch[2] % g.batch[1], i % g.batch[2]};
      auto offset = [&](const int64_t(&stride)[3]) {
        return index[0] * stride[0] + index[1] * stride[1] + index[2] * stride[2];
      };
      const char* a = static_cast<const char*>(g.a) + offset(g.a_batch) * size;
      const char* b = static_cast<const char*>(g.b) + offset(g.b_batch) * size;
      if (p.by_blocks) {
        sum_blocks(g, p, a, b, static_cast<float*>(g.c) + offset(g.c_batch), mine, inner);
        continue;
      }
      if (b != packed_from) pack_panels(g, p, b, packed, inner);
      packed_from = b;
      auto multiply = [&](const void* from, int64_t first, int64_t rows) {
        GemmArgs part = item_args(g, rows);
        part.a = from;
        part.b = packed;
        const int64_t out = offset(g.c_batch) + first * g.ldc;
        part.c = static_cast<char*>(g.c) + out * out_bytes;
        if (g.epilogue.residual != nullptr) {
          part.epilogue.residual = static_cast<const char*>(g.epilogue.residual) +
                                   (offset(g.c_batch) + first * g.epilogue.residual_ld) * residual_bytes;
        }
        gemm(part, gemm_own, inner);
      };
      if (p.rows == 0) {
        multiply(a, 0, g.m);
        continue;
      }
      for (int64_t m = 0; m < g.m; m += p.rows) {
        const int64_t rows = std::min(p.rows, g.m - m);
        copy_rows(g, p, a + m * size, rows, copied, inner);
        multiply(copied, m, rows);
      }
    }
  });
}

}  // namespace lowp::kernels
