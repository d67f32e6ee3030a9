// What a target's translation unit of the attention family offers, and the scratch of one worker.
#pragma once

#include "kernels/attention/attention.h"

namespace lowp::kernels {

// Queries whose scores are in flight at once: 32 rows of 128 scores are 18 KiB, which leaves room in L1 for a panel.
inline constexpr int64_t kQueryBlock = 32;

// One worker's buffers, in floats; every part starts at a multiple of 16 floats. Where the arithmetic is that of s16,
// floats hold words of two integers, 16 for each 32 elements or part of them.
struct AttentionScratch {
  int64_t query_ld;  // d, or its words
  int64_t weights;   // t, or its words
  int64_t score_ld;  // t rounded up to 16 (s16: 32), and 16 more so that rows do not collide in the cache
  int64_t keys;      // k packed: panels of 16 keys, [t / 16][query_ld][16], zero beyond t
  int64_t values;    // v packed: panels of 16 columns, [dv / 16][weights][16], zero beyond dv
  int64_t queries;   // [kQueryBlock][query_ld]
  int64_t scores;    // [kQueryBlock][score_ld], overwritten by weights
  int64_t outputs;   // [kQueryBlock][dv rounded up to 16]
  int64_t size;      // sum of all
};

struct AttentionTable {
  // Queries [begin, end) of one batch item and head.
  using Head = void (*)(const AttentionArgs& args, const AttentionScratch& layout, int64_t batch, int64_t head,
                        int64_t begin, int64_t end, float* scratch);
  Head f32, s16;
};

}  // namespace lowp::kernels
