// Inside the gemm family: the blocking shared by gemm and conv. A job is a GEMM whose rows of A are found by a
// function.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/tiles.h"

namespace lowp::kernels {

// Rows up to `end` whose operand is zero in the taps of `left_out`, a bit each: those are not multiplied, which changes
// nothing while B is finite.
struct RowPiece {
  int64_t end;
  uint64_t left_out;
};

struct GemmJob {
  int64_t m = 0, n = 0;
  int64_t taps = 1, c = 0;  // K = taps * c
  DType a_dtype = DType::kF32;
  WeightKind b_kind = WeightKind::kF32;
  Int8Class int8_class = Int8Class::kExact8;

  // out[t * stride + i] = address of the c elements of tap t of row m0 + i, for i in [0, count).
  void (*rows)(const void* context, int64_t m0, int64_t count, int64_t stride, const void** out) = nullptr;
  const void* context = nullptr;
  int64_t row_bytes = 0;  // between rows of a tap, nearly everywhere; 0 where they are not evenly spaced
  // From each multiple of it on, so many rows lie row_bytes apart in each tap; 0: none need. AMX reads such rows in
  // place, where a tap is a whole number of 64 bytes or the only one.
  int64_t even = 0;
  bool slack = false;  // kGatherSlack bytes may be read from the start of any tap

  const void* b = nullptr;
  void* c_out = nullptr;  // row 0, channel n0
  int64_t ldc = 0;
  // Where `row` lies, and those after it that lie evenly. Null: all rows lie ldc apart, and residual_ld in the
  // residual.
  RowRun (*run)(const void* context, int64_t row) = nullptr;
  const RowPiece* pieces = nullptr;  // tiles stay within them; piece_count 0: all rows are one
  int piece_count = 0;
  const Epilogue* epilogue = nullptr;
  bool backwards = false;  // panels from the last to the first
  int64_t n0 = 0;          // channel of column 0 in bias, scale and residual
  KernelChoice choice;
};

// The ways to run the job that are worth timing; the default first. The job's own choice and pointers are not looked
// at.
std::vector<KernelChoice> job_candidates(const GemmJob& job, int threads);
// Whether a product of so many rows uses AMX's tiles.
bool uses_amx(WeightKind kind, int64_t m);
size_t job_scratch(const GemmJob& job, int threads);
void run_job(const GemmJob& job, void* scratch, int threads);

// Rows so many bytes apart, or a multiple, fall into one set of an L1 of 64 sets and 8 ways: a tile of 14 rows then
// reads each line again and again (K = 1024 in f32: 0.65x of the peak on Zen 4, 0.93x from a copy of the rows).
inline constexpr int64_t kSetsMeet = 4096;
// Bytes between copied rows of so many.
inline constexpr int64_t copied_row_bytes(int64_t bytes) { return bytes % kSetsMeet == 0 ? bytes + 64 : bytes; }

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace lowp::kernels
