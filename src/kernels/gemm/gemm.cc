#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/gemm/driver.h"

namespace lowp {
namespace scalar {
extern const kernels::GemmTable gemm_kernels;
}
namespace emu512 {
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
#if defined(__x86_64__)
    at(Target::k_avx2) = avx2::gemm_kernels;
    at(Target::k_avx2_vnni) = inherit(avx2_vnni::gemm_kernels, at(Target::k_avx2));
    at(Target::k_avx512) = avx512::gemm_kernels;
    at(Target::k_avx512_vnni) = inherit(avx512_vnni::gemm_kernels, at(Target::k_avx512));
    at(Target::k_avx512_bf16) = inherit(avx512_bf16::gemm_kernels, at(Target::k_avx512_vnni));
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

bool expands_weights(WeightKind kind) {
  return kind == WeightKind::kF16 || (kind == WeightKind::kBF16 && gemm_table(active_target())->bf16_dot == nullptr);
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

// Items of a batch run side by side where there are enough of them; else each is split.
struct MatmulPlan {
  int64_t items;
  int64_t tasks;  // 1: threads work inside each item
  size_t packed;  // bytes of packed B
  size_t task_bytes;
};

GemmArgs item_args(const MatmulArgs& g) {
  return {
      .m = g.m,
      .n = g.n,
      .k = g.k,
      .a_dtype = DType::kF32,
      .b_kind = WeightKind::kF32,
      .int8_class = Int8Class::kExact8,
      .a = g.a,
      .lda = g.lda,
      .b = nullptr,
      .c = g.c,
      .ldc = g.ldc,
      .epilogue = g.epilogue,
      .choice = {},
  };
}

MatmulPlan plan_matmul(const MatmulArgs& g, int threads) {
  MatmulPlan p{};
  p.items = g.batch[0] * g.batch[1] * g.batch[2];
  p.tasks = p.items >= threads ? threads : 1;
  p.packed = (packed_bytes(WeightKind::kF32, g.k, g.n) + 63) & ~size_t{63};
  p.task_bytes = p.packed + gemm_scratch(item_args(g), p.tasks > 1 ? 1 : threads);
  return p;
}

// Panel `panel` of B, from any strides.
void pack_panel(const MatmulArgs& g, const float* b, int64_t panel, float* dst) {
  const int64_t n0 = panel * kPanel, columns = std::min(kPanel, g.n - n0);
  const float* src = b + n0 * g.b_col;
  dst += panel * g.k * kPanel;
  if (columns < kPanel) std::memset(dst, 0, static_cast<size_t>(g.k * kPanel) * sizeof(float));
  if (g.b_col == 1 && columns == kPanel) {
    for (int64_t k = 0; k < g.k; ++k) std::memcpy(dst + k * kPanel, src + k * g.b_row, kPanel * sizeof(float));
    return;
  }
  // Blocks of k, so that the 16 columns' lines are still in L1 when the next k reads them.
  for (int64_t k0 = 0; k0 < g.k; k0 += 16) {
    const int64_t k1 = std::min(g.k, k0 + 16);
    for (int64_t n = 0; n < columns; ++n) {
      for (int64_t k = k0; k < k1; ++k) dst[k * kPanel + n] = src[k * g.b_row + n * g.b_col];
    }
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
  const int64_t panels = ceil_div(g.n, kPanel);
  const size_t out_bytes = static_cast<size_t>(dtype_bits(g.epilogue.out)) / 8;
  const size_t residual_bytes = static_cast<size_t>(dtype_bits(g.epilogue.residual_dtype)) / 8;
  const int inner = p.tasks > 1 ? 1 : threads;
  parallel_for(p.tasks > 1 ? threads : 1, p.tasks, [&](int64_t task) {
    char* mine = static_cast<char*>(scratch) + p.task_bytes * static_cast<size_t>(task);
    float* packed = reinterpret_cast<float*>(mine);
    const float* packed_from = nullptr;
    for (int64_t i = p.items * task / p.tasks; i < p.items * (task + 1) / p.tasks; ++i) {
      const int64_t index[3] = {i / (g.batch[1] * g.batch[2]), i / g.batch[2] % g.batch[1], i % g.batch[2]};
      auto offset = [&](const int64_t(&stride)[3]) {
        return index[0] * stride[0] + index[1] * stride[1] + index[2] * stride[2];
      };
      const float* b = g.b + offset(g.b_batch);
      if (b != packed_from) {
        parallel_for(inner, panels, [&](int64_t panel) { pack_panel(g, b, panel, packed); });
        packed_from = b;
      }
      GemmArgs item = item_args(g);
      item.a = g.a + offset(g.a_batch);
      item.b = packed;
      const int64_t out = offset(g.c_batch);
      item.c = static_cast<char*>(g.c) + static_cast<size_t>(out) * out_bytes;
      if (g.epilogue.residual != nullptr) {
        item.epilogue.residual =
            static_cast<const char*>(g.epilogue.residual) + static_cast<size_t>(out) * residual_bytes;
      }
      gemm(item, mine + p.packed, inner);
    }
  });
}

}  // namespace lowp::kernels
