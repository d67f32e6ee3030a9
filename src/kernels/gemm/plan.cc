#include "kernels/gemm/plan.h"

#include <algorithm>
#include <cmath>

#include "base/align.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/select.h"

namespace lowp::kernels {
namespace {

// Rows of A handled against one group of panels before the next. They may come from L3: a tile of 6 x 16 wants 4 bytes
// of them a cycle, while each further chunk reads all of B again, in BERT from memory. (With 256 KB BERT-base in FP32
// ran 0.92x as fast on Zen 3.)
constexpr int64_t kChunkBytes = 2 << 20;
constexpr int64_t kMaxChunkRows = 448;
// Rows that meet in sets of L1 (kSetsMeet) are copied apart where more of them make a tile than it has ways and so many
// panels read the copy.
constexpr int64_t kWaysOfL1 = 8;
constexpr int64_t kPanelsOfCopy = 8;
// So many rows wait for their panels, which vectors read faster than AMX's tiles (1 row 1.3x, 4 rows 1.1x as fast, 8
// rows 0.93x, from L3 on Granite Rapids).
constexpr int64_t kFewRows = 6;

// AMX takes all four operands of a step from L2 where neither 32 rows nor two panels stay in L1; from 1.5 KB of K on
// blocks of 512 bytes, in which the panels do, are 1.3 times as fast though sums are stored and read again, up to 1 KB
// slower (0.9; Granite Rapids).
constexpr int64_t kAmxLongRow = 1024, kAmxBlock = 512;

using Loop = KernelChoice::Loop;

GatherFn gather_of(const GemmTable& table, Gather g) { return table.gather[static_cast<int>(g)]; }

// How rows of elements of `bytes` bytes are copied as they are.
Gather plain_copy(const GemmJob& job, int64_t bytes) {
  const int64_t run = job.c * bytes;
  if (job.slack && bytes == 2 && run <= 64) return Gather::kShort2x64;
  if (job.slack && bytes == 1 && run <= 32) return run > 16 ? Gather::kShort1x32 : Gather::kShort1x16;
  return bytes == 2 ? Gather::kCopy2 : Gather::kCopy1;
}

void choose_kernel(const GemmJob& job, Plan& p) {
  const GemmTable& t = *p.table;
  const bool many_taps = job.taps > 1;
  switch (job.b_kind) {
    case WeightKind::kF32:
      p.tiles = t.f32;
      if (job.a_dtype == DType::kBF16) p.gather = gather_of(t, Gather::kBF16ToF32);
      if (job.a_dtype == DType::kF16) p.gather = gather_of(t, Gather::kF16ToF32);
      break;
    case WeightKind::kF16:
      p.tiles = t.f32;
      p.expand = t.expand_f16;
      if (job.a_dtype == DType::kF16) p.gather = gather_of(t, Gather::kF16ToF32);
      break;
    case WeightKind::kBF16:
      if (const TileSet* dot = bf16_tiles(t); dot != nullptr) {
        p.tiles = dot;
        p.group = p.amx() ? kAmxRowBytes / 2 : 2;
        if (job.a_dtype == DType::kF32)
          p.gather = gather_of(t, Gather::kF32ToBF16);
        else if (p.amx() ? job.even == 0 : job.c % 2 != 0)
          p.gather = gather_of(t, plain_copy(job, 2));
      } else if (t.bf16_wide != nullptr && job.a_dtype == DType::kF32 && job.m <= t.bf16_wide->max_rows[1] &&
                 (!many_taps || job.c % 2 == 0)) {
        // Few rows are bound by reading weights, and every panel is used once: LSTM layers at batch 1 run 2x as fast.
        p.tiles = t.bf16_wide;
      } else {
        p.tiles = t.f32;
        p.expand = t.expand_bf16;
        if (job.a_dtype == DType::kBF16) p.gather = gather_of(t, Gather::kBF16ToF32);
      }
      break;
    case WeightKind::kS8: {
      p.tiles = uses_amx(job.b_kind, job.m) ? t.s8_amx : int8_tiles(t, job.int8_class);
      p.group = p.amx() ? kAmxRowBytes : 4;
      const bool is_signed = job.a_dtype == DType::kI8;
      if (p.tiles->form == RowForm::kWide)
        p.gather = gather_of(t, is_signed ? Gather::kS8ToWide : Gather::kU8ToWide);
      else if (is_signed)
        p.gather = gather_of(t, Gather::kS8ToU8);
      // A7 kernels take k by eights or sixteens and must not cross a tap; last fours are possible with one tap only.
      else if (p.amx() ? job.even == 0 : job.c % (many_taps ? 2 * lane_weights(job.int8_class) : 4) != 0)
        p.gather = gather_of(t, plain_copy(job, 1));
      break;
    }
  }
}

size_t form_bytes(RowForm form) {
  switch (form) {
    case RowForm::kF32: return 4;
    case RowForm::kU8: return 1;
    default: return 2;
  }
}

int max_panels(const TileSet& tiles) {
  int np = 0;
  for (int i = 1; i <= kMaxTilePanels; ++i) {
    if (tiles.max_rows[i] != 0) np = i;
  }
  return np;
}

// Relative time of one step of k over m rows and np panels, in half cycles: two multiply-adds or two loads a cycle, the
// latency of a sum; and where several tiles pass over the panels, L2 gives 21 bytes of them a cycle. (With 32 bytes 4 x
// 6 tiles were chosen for 128 rows: 0.8x of 13 x 2 on Sapphire Rapids.)
//
// AMX, for 64 bytes of K: a product takes a cycle for each row of A, a load 8 from L1 and 16 from L2.
int64_t tile_cost(const TileSet& tiles, int64_t m, int np) {
  const int64_t count = ceil_div(m, tiles.max_rows[np]), vectors = np * tiles.vectors;
  if (tiles.amx()) {
    const int64_t rows = ceil_div(m, count), loads = 8 * ceil_div(rows, kAmxRows) + (count > 1 ? 8 : 16) * np;
    return count * (4 * std::max(rows * np, loads) + loads);  // loads are never quite hidden
  }
  const int64_t from_l2 = count > 1 ? 6 * np : 0;
  auto of_rows = [&](int64_t rows) {
    return std::max<int64_t>({rows * vectors, rows + vectors, tiles.latency, from_l2});
  };
  const int64_t higher = m % count;  // tiles share the rows evenly
  return higher * of_rows(m / count + 1) + (count - higher) * of_rows(m / count);
}

void split_threads(const GemmJob& job, int threads, Plan& p) {
  if (job.choice.split_m != 0) {
    p.split_m = job.choice.split_m;
    p.split_n = job.choice.split_n;
    LOWP_CHECK(p.split_m > 0 && p.split_n > 0 && p.split_m * p.split_n <= threads);
    return;
  }
  const int64_t panels = ceil_div(job.n, kPanel);
  const int64_t m_units = ceil_div(job.m, p.tiles->max_rows[1]);
  int64_t best_work = INT64_MAX, best_traffic = INT64_MAX;
  for (int64_t tm = 1; tm <= threads; ++tm) {
    int64_t tn = threads / tm;
    if (tm > std::max<int64_t>(m_units, 1) || tn > std::max<int64_t>(panels, 1)) {
      tn = std::min(tn, std::max<int64_t>(panels, 1));
      if (tm > std::max<int64_t>(m_units, 1)) break;
    }
    int64_t work = ceil_div(job.m, tm) * ceil_div(panels, tn);
    int64_t traffic = job.m * tn + panels * kPanel * tm;  // A is read by every column of threads, B by every row
    // 3% more work is less than the noise of the division.
    if (work < best_work - best_work / 32 || (work <= best_work + best_work / 32 && traffic < best_traffic)) {
      best_work = work;
      best_traffic = traffic;
      p.split_m = tm;
      p.split_n = tn;
    }
  }
}

// Pieces cost what they read again. Those of rows read the panels, from L2 where they fit (from L3, ResNet-50 in FP32
// lost 5%); those of panels read the rows, and are to be long for that.
void split_parts(const GemmJob& job, Plan& p) {
  if (p.split_m * p.split_n == 1) return;
  const int64_t rows = ceil_div(job.m, p.split_m), panels = ceil_div(ceil_div(job.n, kPanel), p.split_n);
  const int64_t macs = rows * panels * kPanel * p.k;
  const int64_t by_rows = pieces_of_share(macs, rows / (8 * p.tiles->max_rows[1]));
  const bool finds_rows = p.gather != nullptr || job.taps > 1;  // for each piece anew
  const int64_t by_panels = finds_rows ? 1 : pieces_of_share(macs / 4, panels / (2 * kMaxTilePanels));
  if (by_rows > 1 && panels * p.b_stride <= kPanelsInL2)
    p.row_pieces = by_rows;
  else
    p.panel_pieces = by_panels;
}

// Whether sums in steps of the output fit s32: |s| <= 2^31 times at most 1/2, and a residual's 255 steps and offset.
bool steps_fit(const GemmJob& job) {
  const Epilogue& e = *job.epilogue;
  bool fit = true;
  for (int64_t i = 0; i < job.n; ++i)
    fit &= std::fabs(e.scale[job.n0 + i] * e.out_inv_scale) <= kMostStepsOfSum;  // not NaN
  return fit && (e.residual == nullptr || std::fabs(e.residual_scale * e.out_inv_scale) <= kMostStepsOfResidual);
}

}  // namespace

bool uses_amx(WeightKind kind, int64_t m) {
  const GemmTable& t = *gemm_table(active_target());
  if (kind == WeightKind::kS8) return t.s8_amx != nullptr && m > kFewRows;
  return kind == WeightKind::kBF16 && t.bf16_amx != nullptr;
}

bool can_finish(const GemmJob& job, const Plan& p) {
  const Epilogue& e = *job.epilogue;
  const TileSet& tiles = *p.tiles;
  const bool one_block = job.b_kind == WeightKind::kS8 || p.k <= kBlockK;
  if (tiles.finishes == 0 || p.k == 0 || !one_block) return false;
  if (e.activation == Activation::kGeluCoarse)
    return job.b_kind == WeightKind::kS8 && e.out == DType::kU8 && e.residual == nullptr;
  return output_range(e).is_all && (e.out == tiles.finished[0] || e.out == tiles.finished[1]) &&
         (e.residual == nullptr || e.residual_dtype == e.out) && (e.out != DType::kU8 || steps_fit(job));
}

int next_panels(const TileSet& tiles, int64_t m, int64_t left) {
  int best = 1;
  for (int np = 2; np <= kMaxTilePanels && np <= left; ++np) {
    if (tiles.max_rows[np] == 0) continue;
    // Equal: wide where one tile holds all rows (more loads in flight: 1.15x on 1 and 4 rows), else tall.
    const int64_t wide = tile_cost(tiles, m, np) * best, tall = tile_cost(tiles, m, best) * np;
    if (wide < tall || (wide == tall && m <= tiles.max_rows[np])) best = np;
  }
  if (left >= 2 * kMaxTilePanels || left % best == 0) return best;
  constexpr int kLimit = 2 * kMaxTilePanels;
  int64_t cost[kLimit] = {0};
  int first[kLimit] = {0};
  for (int r = 1; r <= left; ++r) {
    cost[r] = INT64_MAX;
    for (int np = 1; np <= kMaxTilePanels && np <= r; ++np) {
      if (tiles.max_rows[np] == 0) continue;
      int64_t c = tile_cost(tiles, m, np) + cost[r - np];
      if (c < cost[r]) cost[r] = c, first[r] = np;
    }
  }
  return first[left];
}

Plan make_plan(const GemmJob& job, int threads) {
  Plan p;
  p.table = gemm_table(active_target());
  choose_kernel(job, p);
  const bool sets_meet = job.row_bytes > 0 && job.row_bytes % kSetsMeet == 0 && p.tiles->max_rows[1] > kWaysOfL1 &&
                         job.m >= kWaysOfL1 && job.n >= kPanelsOfCopy * kPanel;
  if ((job.choice.gather || sets_meet) && p.gather == nullptr) {
    // Rows that the kernel could read in place are copied byte by byte, whatever their elements.
    p.gather = gather_of(*p.table, Gather::kCopy1);
    p.gather_unit = static_cast<int64_t>(form_bytes(p.tiles->form));
  }
  p.width = job.choice.width;
  LOWP_CHECK(p.width >= 0 && p.width <= kMaxTilePanels && (p.width == 0 || p.tiles->max_rows[p.width] != 0));
  p.loop = job.choice.loop;
  p.k = job.taps * job.c;
  const auto element = static_cast<int64_t>(form_bytes(p.tiles->form));
  p.b_stride = round_up(p.k, pack_group(job.b_kind)) * kPanel * static_cast<int64_t>(weight_bytes(job.b_kind));
  p.tile_stride = p.expand == nullptr ? p.b_stride : round_up(p.k, 2) * kPanel * static_cast<int64_t>(sizeof(float));
  const size_t row = align64(static_cast<size_t>(round_up(p.k, p.group)) * form_bytes(p.tiles->form));
  p.gathered_row = static_cast<size_t>(copied_row_bytes(static_cast<int64_t>(row)));
  if (p.amx() && p.gather == nullptr && (job.even < job.m || job.taps > 1)) {
    p.line = job.even;
    LOWP_CHECK(job.c * element % kAmxRowBytes == 0);
  }
  split_threads(job, threads, p);
  split_parts(job, p);

  const int64_t rows = ceil_div(job.m, p.split_m * p.row_pieces);
  const int64_t row_bytes = p.gather != nullptr ? static_cast<int64_t>(p.gathered_row) : job.c * element;
  const int64_t tile_rows = p.tiles->max_rows[1];
  int64_t limit = std::clamp<int64_t>(kChunkBytes / std::max<int64_t>(row_bytes, 1), 2 * tile_rows, kMaxChunkRows);
  p.chunk = rows <= limit ? rows : round_up(ceil_div(rows, ceil_div(rows, limit)), tile_rows);
  LOWP_CHECK(job.choice.chunk >= 0);
  if (job.choice.chunk != 0) p.chunk = std::min<int64_t>(rows, job.choice.chunk);
  if (p.line != 0) p.chunk = round_up(p.chunk, p.line);

  size_t at = kMaxAcc * sizeof(float);
  if (p.amx()) {
    if (p.line == 0 && p.k * element > kAmxLongRow) p.k_block = kAmxBlock / element;
    // Tiles of one height overlap by a row where heights would differ, or by a register's where a line has no second:
    // room for it before and after the sums.
    const int64_t most = p.k_block != 0 ? kTilesOfBlock * 2 * kAmxRows * 2 * kPanel : kMaxAcc;
    const auto margin = static_cast<size_t>(std::min(kMaxAcc, kAmxRows * round_up(job.n, kPanel))) * sizeof(float);
    p.acc_at = margin;
    at = static_cast<size_t>(most) * sizeof(float) + 2 * margin;
    p.tail = p.k * element % kAmxRowBytes;
  }
  p.tiles_at = at;
  at += align64(static_cast<size_t>(p.chunk) * kTileBytes);
  p.pointers_at = at;
  at += align64(static_cast<size_t>(p.chunk * job.taps) * sizeof(void*));
  if (p.gather != nullptr) {
    p.gathered_at = at;
    at += static_cast<size_t>(p.chunk) * p.gathered_row + align64(kGatherSlack);
    p.gathered_pointers_at = at;
    at += align64(static_cast<size_t>(p.chunk) * sizeof(void*));
  }
  if (p.expand != nullptr) {
    p.expanded_at = at;
    at += static_cast<size_t>(std::max(p.tile_stride * max_panels(*p.tiles), kPanelsInL2));
  }
  if (p.tail != 0) {
    p.panel_tails_at = at;
    at += static_cast<size_t>(ceil_div(ceil_div(job.n, kPanel), p.split_n * p.panel_pieces) * kAmxPanelBytes);
    p.row_tails_at = at;
    if (p.gather == nullptr) at += static_cast<size_t>(p.chunk * kAmxRowBytes) + align64(kGatherSlack);
  }
  p.bytes = at;
  return p;
}

std::vector<KernelChoice> job_candidates(const GemmJob& job, int threads) {
  std::vector<KernelChoice> list(1);
  if (job.m == 0 || job.n == 0 || job.taps * job.c == 0) return list;
  GemmJob by_formula = job;
  by_formula.choice = {};
  const Plan p = make_plan(by_formula, threads);
  const int64_t all_panels = ceil_div(job.n, kPanel), panels = ceil_div(all_panels, p.split_n);
  const int64_t all_rows = ceil_div(job.m, p.split_m), tile_rows = p.tiles->max_rows[1];
  const int formula_width = next_panels(*p.tiles, p.chunk, panels);
  const Loop formula_loop = rows_first(p, panels) ? Loop::kRowsOutside : Loop::kColumnsOutside;
  const Loop other_loop = formula_loop == Loop::kRowsOutside ? Loop::kColumnsOutside : Loop::kRowsOutside;
  for (int width = 0; width <= kMaxTilePanels && width <= panels; ++width) {
    if (width == formula_width || (width != 0 && p.tiles->max_rows[width] == 0)) continue;
    // One group of panels needs one pass over the rows: there is no order, and a copy is read once.
    const bool one_pass = (width == 0 ? formula_width : width) >= panels;
    for (Loop loop : {Loop::kFormula, other_loop}) {
      if (loop != Loop::kFormula && (one_pass || !rows_can_be_first(p, panels))) continue;
      for (bool gather : {false, true}) {
        if (gather && (p.gather != nullptr || (one_pass && job.taps == 1))) continue;
        KernelChoice c;
        c.width = static_cast<uint8_t>(width);
        c.loop = loop;
        c.gather = gather;
        if (c != KernelChoice{}) list.push_back(c);
      }
    }
  }
  const size_t tiles = list.size();
  for (int64_t chunk : {round_up(p.chunk / 2, tile_rows), round_up(p.chunk * 2, tile_rows)}) {
    if (chunk == 0 || chunk == p.chunk || std::min(chunk, all_rows) == p.chunk) continue;
    KernelChoice c;
    c.chunk = static_cast<int32_t>(chunk);
    list.push_back(c);
  }
  for (int64_t tm = 1; tm <= threads; ++tm) {
    const int64_t tn = threads / tm;
    if (tm * tn != threads || (tm == p.split_m && tn == p.split_n)) continue;
    if (tn > all_panels || (tm - 1) * tile_rows >= job.m) continue;
    KernelChoice c;
    c.split_m = static_cast<int32_t>(tm);
    c.split_n = static_cast<int32_t>(tn);
    list.push_back(c);
  }
  if (p.split_m * p.split_n > 1) {  // waking other threads can take longer than a small layer
    KernelChoice c;
    c.split_m = c.split_n = 1;
    list.push_back(c);
  }
  const size_t alone = list.size();
  for (size_t t = 1; t < tiles; ++t) {
    for (size_t b = tiles; b < alone; ++b) list.push_back(KernelChoice::combined(list[t], list[b]));
  }
  return list;
}

}  // namespace lowp::kernels
