#include "kernels/attention/attention.h"

#include "kernels/attention/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(AttentionTable, attention_table)
namespace lowp::avx512_vnni {
extern const kernels::AttentionTable attention_table;
}

namespace lowp::kernels {
namespace {

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

AttentionScratch scratch_layout(const AttentionArgs& a) {
  AttentionScratch s;
  s.query_ld = a.s16 ? round_up(a.d, 32) / 2 : a.d;
  s.weights = a.s16 ? round_up(a.t, 32) / 2 : a.t;
  s.score_ld = round_up(a.t, a.s16 ? 32 : 16) + 16;
  s.keys = round_up(a.t, 16) * s.query_ld;
  s.values = round_up(a.dv, 16) * s.weights;
  s.queries = kQueryBlock * round_up(s.query_ld, 16);
  s.scores = kQueryBlock * s.score_ld;
  s.outputs = kQueryBlock * round_up(a.dv, 16);
  s.size = s.keys + s.values + s.queries + s.scores + s.outputs;
  return s;
}

// Queries a task: all of a head's, unless there are too few heads to keep the threads evenly busy. Splitting a head
// packs its keys and values again.
int64_t queries_per_task(const AttentionArgs& a, int threads) {
  int64_t heads = a.batch * a.heads;
  if (threads <= 1 || heads >= 2 * threads) return a.s;
  int64_t pieces = (2 * threads + heads - 1) / heads;
  return round_up((a.s + pieces - 1) / pieces, kQueryBlock);
}

AttentionTable::Head head_function(bool s16) {
  if (!s16) return LOWP_SELECT_TABLE(attention_table).f32;
  const Target target = active_target();
  switch (target) {
    case Target::k_avx512_vnni:
    case Target::k_avx512_bf16:
    case Target::k_avx512_amx: return avx512_vnni::attention_table.s16;
    default: break;
  }
  return LOWP_SELECT_TABLE(attention_table).s16;
}

}  // namespace

size_t attention_scratch(const AttentionArgs& args, int threads) {
  return static_cast<size_t>(scratch_layout(args).size) * sizeof(float) * static_cast<size_t>(std::max(threads, 1));
}

void attention(const AttentionArgs& args, void* scratch, int threads) {
  if (args.batch * args.heads * args.s * args.dv == 0) return;
  const AttentionTable::Head head = head_function(args.s16);
  AttentionScratch layout = scratch_layout(args);
  int64_t size = queries_per_task(args, threads);
  int64_t pieces = (args.s + size - 1) / size;
  int64_t tasks = args.batch * args.heads * pieces;
  int64_t work = args.batch * args.heads * args.s * args.t * (args.d + args.dv);
  int64_t workers = std::min<int64_t>({threads, tasks, work / (16 * kGrainElements) + 1});
  parallel_shares(static_cast<int>(workers), tasks, [&](int64_t worker, int64_t i) {
    float* buffers = static_cast<float*>(scratch) + worker * layout.size;
    int64_t piece = i % pieces, index = i / pieces % args.heads, batch = i / pieces / args.heads;
    head(args, layout, batch, index, piece * size, std::min(args.s, (piece + 1) * size), buffers);
  });
}

}  // namespace lowp::kernels
