#include "kernels/gemm/driver.h"

#include <algorithm>

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
// Bytes of panels that tiles of a few rows pass over together. Tiles stream them from L2 as fast as from L1
// (ResNet-50's 3 x 3 layers, whose panels are 147 KB, reach 93% of the peak in f32), and an output row is written in
// longer pieces: at 4 KB from row to row, pieces of one line fall into the same set of L1 and push each other out.
constexpr int64_t kPanelsInL2 = 128 << 10;
// Sums that one epilogue takes: its preparation (scales, bounds of the clamp) costs about 60 cycles. EfficientNet-lite0
// in INT8 runs 1.3x as fast as with tiles of 4 x 16 on their own (Zen 3); the large tiles of AVX-512 are enough alone.
constexpr int64_t kEpilogueSums = 384;

// Rows that meet in sets of L1 (kSetsMeet) are copied apart where more of them make a tile than it has ways and so many
// panels read the copy.
constexpr int64_t kWaysOfL1 = 8;
constexpr int64_t kPanelsOfCopy = 8;

size_t align64(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

using Loop = KernelChoice::Loop;

struct Plan {
  const GemmTable* table;
  const TileSet* tiles;
  GatherFn gather = nullptr;  // null: rows are read in place
  ExpandFn expand = nullptr;  // null: panels are read as stored
  int64_t k = 0;
  int64_t group = 1;        // gathered rows are padded to a multiple of it, in elements
  size_t gathered_row = 0;  // bytes
  int64_t gather_unit = 1;  // > 1: gather copies bytes, so many an element
  int64_t b_stride = 0;     // bytes of a stored panel
  int64_t tile_stride = 0;  // bytes of a panel as tiles read it, expanded or not
  int64_t chunk = 0;        // rows
  int width = 0;            // panels of a tile; 0: by formula
  Loop loop = Loop::kFormula;
  int64_t split_m = 1, split_n = 1;
  int64_t row_pieces = 1, panel_pieces = 1;  // of a thread's part, which idle threads may take
  // One thread's scratch: accumulators, pointers, gathered rows, expanded panels.
  size_t pointers_at = 0, gathered_at = 0, gathered_pointers_at = 0, expanded_at = 0, bytes = 0;
};

GatherFn gather_of(const GemmTable& table, Gather g) { return table.gather[static_cast<int>(g)]; }

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
      if (t.bf16_dot != nullptr) {
        p.tiles = t.bf16_dot;
        p.group = 2;
        if (job.a_dtype == DType::kF32)
          p.gather = gather_of(t, Gather::kF32ToBF16);
        else if (job.c % 2 != 0)
          p.gather = gather_of(t, job.slack && job.c * 2 <= 64 ? Gather::kShort2x64 : Gather::kCopy2);
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
      p.tiles = int8_tiles(t, job.int8_class);
      p.group = 4;
      const bool is_signed = job.a_dtype == DType::kI8;
      if (p.tiles->form == RowForm::kWide)
        p.gather = gather_of(t, is_signed ? Gather::kS8ToWide : Gather::kU8ToWide);
      else if (is_signed)
        p.gather = gather_of(t, Gather::kS8ToU8);
      // A7 kernels take k by eights or sixteens and must not cross a tap; last fours are possible with one tap only.
      else if (job.c % (many_taps ? 2 * lane_weights(job.int8_class) : 4) != 0)
        p.gather = gather_of(t, !job.slack || job.c > 32 ? Gather::kCopy1
                                : job.c > 16             ? Gather::kShort1x32
                                                         : Gather::kShort1x16);
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
int64_t tile_cost(const TileSet& tiles, int64_t m, int np) {
  const int64_t count = ceil_div(m, tiles.max_rows[np]), rows = ceil_div(m, count), vectors = np * tiles.vectors;
  const int64_t from_l2 = count > 1 ? 6 * np : 0;
  return count * std::max<int64_t>({rows * vectors, rows + vectors, tiles.latency, from_l2});
}

// Panels of the next group where `left` remain: the cheapest way to cover them all.
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

// Whether rows should meet all `panels` panels, by formula: output rows are then finished whole and written end to end
// (1.2x on 56 x 56 x 64 -> 256 in f32), else each group of panels passes over the chunk.
bool rows_first(const Plan& p, int64_t panels) { return panels * p.tile_stride <= kPanelsInL2 / 2; }

// Copies of panels in f32 are made for as many at a time as stay in L2.
bool rows_can_be_first(const Plan& p, int64_t panels) {
  return p.k > 0 && (p.expand == nullptr || panels * p.tile_stride <= kPanelsInL2);
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
  p.b_stride = round_up(p.k, pack_group(job.b_kind)) * kPanel * static_cast<int64_t>(weight_bytes(job.b_kind));
  p.tile_stride = p.expand == nullptr ? p.b_stride : round_up(p.k, 2) * kPanel * static_cast<int64_t>(sizeof(float));
  const size_t row = align64(static_cast<size_t>(round_up(p.k, p.group)) * form_bytes(p.tiles->form));
  p.gathered_row = static_cast<size_t>(copied_row_bytes(static_cast<int64_t>(row)));
  split_threads(job, threads, p);
  split_parts(job, p);

  const int64_t rows = ceil_div(job.m, p.split_m * p.row_pieces);
  const int64_t row_bytes = p.gather != nullptr ? static_cast<int64_t>(p.gathered_row)
                                                : job.c * static_cast<int64_t>(form_bytes(p.tiles->form));
  const int64_t tile_rows = p.tiles->max_rows[1];
  int64_t limit = std::clamp<int64_t>(kChunkBytes / std::max<int64_t>(row_bytes, 1), 2 * tile_rows, kMaxChunkRows);
  p.chunk = rows <= limit ? rows : round_up(ceil_div(rows, ceil_div(rows, limit)), tile_rows);
  LOWP_CHECK(job.choice.chunk >= 0);
  if (job.choice.chunk != 0) p.chunk = std::min<int64_t>(rows, job.choice.chunk);

  size_t at = kMaxAcc * sizeof(float);
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
  p.bytes = at;
  return p;
}

// One thread's part of a job: rows [m0, m1) against panels [p0, p1), a chunk of rows at a time.
class Block {
 public:
  Block(const GemmJob& job, const Plan& plan, char* scratch) : job_(job), p_(plan), scratch_(scratch) {
    const Epilogue& e = *job.epilogue;
    out_bytes_ = dtype_bits(e.out) / 8;
    residual_bytes_ = dtype_bits(e.residual_dtype) / 8;
    epilogue_ = job.b_kind == WeightKind::kS8 ? plan.table->epilogue_s32 : plan.table->epilogue_f32;
  }

  void run(int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
    for (int64_t start = m0; start < m1; start += p_.chunk) {
      start_ = start;
      rows_ = std::min(p_.chunk, m1 - start);
      read_rows();
      const bool rows_outermost = p_.loop == Loop::kFormula ? rows_first(p_, p1 - p0) : p_.loop == Loop::kRowsOutside;
      if (rows_outermost && rows_can_be_first(p_, p1 - p0))
        rows_outside(p0, p1);
      else
        panels_outside(p0, p1, start + rows_ < m1);
    }
  }

 private:
  // Panels that the tiles of one call pass over: np side by side, `groups` times.
  struct Segment {
    int64_t panel;
    int np;
    int64_t groups;
    int64_t panels() const { return np * groups; }
  };

  // Finds the chunk's rows, and converts them where the kernel wants another form.
  void read_rows() {
    const int64_t rows = rows_;
    const void** pointers = reinterpret_cast<const void**>(scratch_ + p_.pointers_at);
    job_.rows(job_.context, start_, rows, rows, pointers);
    tile_ = {.rows = pointers,
             .rows_stride = rows,
             .taps = job_.taps,
             .c = job_.c,
             .b = nullptr,
             .b_stride = p_.tile_stride,
             .acc = nullptr};
    if (p_.gather == nullptr) return;
    const void** gathered = reinterpret_cast<const void**>(scratch_ + p_.gathered_pointers_at);
    for (int64_t i = 0; i < rows; ++i) {
      char* row = scratch_ + p_.gathered_at + static_cast<size_t>(i) * p_.gathered_row;
      p_.gather(pointers + i, rows, job_.taps, job_.c * p_.gather_unit, p_.group * p_.gather_unit, row);
      gathered[i] = row;
    }
    tile_.rows = gathered;
    tile_.taps = 1;
    tile_.c = round_up(p_.k, p_.group);
  }

  // The next panels where `left` remain, the first of them `panel` (the last plus one when going backwards).
  Segment segment_at(int64_t panel, int64_t left) const {
    auto group_of = [&](int64_t remaining) {
      return p_.width != 0 && p_.width <= remaining ? p_.width : next_panels(*p_.tiles, rows_, remaining);
    };
    const int np = group_of(left);
    const int64_t tile = std::min<int64_t>(rows_, p_.tiles->max_rows[np]) * np * kPanel;
    const int64_t most = std::min(
        {ceil_div(kEpilogueSums, tile), kMaxAcc / tile, kPanelsInL2 / std::max<int64_t>(np * p_.tile_stride, 1)});
    int64_t groups = 1;
    while (groups < most && left - groups * np >= np && group_of(left - groups * np) == np) ++groups;
    return {job_.backwards ? panel - np * groups : panel, np, groups};
  }

  // Tiles of rows, and how many of them share an epilogue.
  struct RowTiles {
    int64_t count, together;
  };
  RowTiles row_tiles(int64_t max_rows, int64_t panels) const {
    const int64_t count = ceil_div(rows_, max_rows), sums = ceil_div(rows_, count) * panels * kPanel;
    return {count, std::clamp<int64_t>(kEpilogueSums / sums, 1, kMaxAcc / sums)};
  }

  // The tiles of one segment together fetch the next one's panels from memory or L3 to L2 while they compute: without
  // that ResNet-50 and BERT in FP32 wait for a fifth of their time on a CPU whose core reads 15 GB/s from memory.
  // Evenly, so that the rate stays low. `more`: another chunk follows and starts with the first panels again.
  void panels_outside(int64_t p0, int64_t p1, bool more) {
    const int64_t first = job_.backwards ? p1 : p0;
    int64_t left = p1 - p0;
    for (Segment s = segment_at(first, left); left > 0;) {
      left -= s.panels();
      const Segment next =
          left > 0 ? segment_at(job_.backwards ? s.panel : s.panel + s.panels(), left) : segment_at(first, p1 - p0);
      const RowTiles tiles = row_tiles(p_.tiles->max_rows[s.np], s.panels());
      const int64_t fetched = left > 0 || more ? next.panels() * p_.b_stride : 0;
      const char* b = panels_at(s);
      tile_.prefetch_step = ceil_div(fetched, std::max<int64_t>(tiles.count * s.groups * (tile_.b_stride / 64), 1));
      for (int64_t i = 0; i < tiles.count; i += tiles.together) {
        tile_.prefetch = static_cast<const char*>(job_.b) + next.panel * p_.b_stride + fetched * i / tiles.count;
        block(tiles, i, s, b);
      }
      s = next;
    }
  }

  void rows_outside(int64_t p0, int64_t p1) {
    tile_.prefetch_step = 0;
    int max_rows = kMaxTileRows;
    int64_t widest = 1;
    auto for_segments = [&](auto&& body) {
      int64_t left = p1 - p0;
      for (int64_t panel = job_.backwards ? p1 : p0; left > 0;) {
        const Segment s = segment_at(panel, left);
        body(s);
        panel = job_.backwards ? s.panel : s.panel + s.panels();
        left -= s.panels();
      }
    };
    constexpr int kKept = 64;  // segments that are not worked out anew for each tile
    Segment kept[kKept];
    int count = 0;
    for_segments([&](const Segment& s) {
      if (count < kKept) kept[count] = s;
      ++count;
      max_rows = std::min<int>(max_rows, p_.tiles->max_rows[s.np]);
      widest = std::max(widest, s.panels());
    });
    if (p_.expand != nullptr) expand(p0, p1);
    const RowTiles tiles = row_tiles(max_rows, widest);
    for (int64_t i = 0; i < tiles.count; i += tiles.together) {
      auto body = [&](const Segment& s) { block(tiles, i, s, panels_at(s)); };
      if (count <= kKept)
        std::for_each(kept, kept + count, body);
      else
        for_segments(body);
    }
  }

  // The segment's first panel, expanded where the kernel wants f32.
  const char* panels_at(const Segment& s) {
    if (p_.expand == nullptr) return static_cast<const char*>(job_.b) + s.panel * p_.b_stride;
    expand(s.panel, s.panel + s.panels());
    return scratch_ + p_.expanded_at + (s.panel - expanded_from_) * p_.tile_stride;
  }
  // Expands panels [p0, p1), unless they are.
  void expand(int64_t p0, int64_t p1) {
    if (expanded_from_ <= p0 && p1 <= expanded_to_) return;
    p_.expand(static_cast<const char*>(job_.b) + p0 * p_.b_stride, p_.b_stride, round_up(p_.k, 2), p1 - p0,
              reinterpret_cast<float*>(scratch_ + p_.expanded_at));
    expanded_from_ = p0;
    expanded_to_ = p1;
  }

  // Tiles i to i + tiles.together of rows against a segment's panels, and their epilogue.
  void block(const RowTiles& tiles, int64_t i, const Segment& s, const char* b) {
    const Epilogue& e = *job_.epilogue;
    const int64_t column = s.panel * kPanel, columns = std::min<int64_t>(s.panels() * kPanel, job_.n - column);
    const int64_t end = std::min(i + tiles.together, tiles.count);
    auto first_row = [&](int64_t tile) { return rows_ * tile / tiles.count; };
    const int64_t begin = first_row(i), rows = first_row(end) - begin;
    if (i == 0) fetch_outputs(begin, rows, column, columns);
    if (end < tiles.count) {
      const int64_t after = first_row(std::min(end + tiles.together, tiles.count));
      fetch_outputs(begin + rows, after - begin - rows, column, columns);
    }
    TileArgs t = tile_;
    t.b = b;
    t.groups = s.groups;
    t.acc_ld = s.panels() * kPanel;
    if (job_.b_kind == WeightKind::kS8 && e.bias_s32 != nullptr)
      t.bias = starts(e.bias_s32 + job_.n0 + column, columns, t.acc_ld);
    const int64_t fetched = t.prefetch_step * s.groups * (t.b_stride / 64);
    float* acc = reinterpret_cast<float*>(scratch_);
    for (; i < end; ++i) {
      const int64_t r0 = first_row(i), count = first_row(i + 1) - r0;
      t.rows = tile_.rows + r0;
      t.acc = acc + (r0 - begin) * t.acc_ld;
      p_.tiles->tile[count][s.np](t);
      t.prefetch = static_cast<const char*>(t.prefetch) + fetched;
    }
    for_runs(start_ + begin, rows, [&](int64_t row, int64_t count, int64_t place) {
      EpilogueArgs out{
          .e = &e,
          .acc = acc + (row - start_ - begin) * t.acc_ld,
          .acc_ld = t.acc_ld,
          .rows = static_cast<int>(count),
          .cols = static_cast<int>(columns),
          .n0 = job_.n0 + column,
          .out = static_cast<char*>(job_.c_out) + (place + column) * out_bytes_,
          .ldc = job_.ldc,
          .residual = nullptr,
          .bias_added = t.bias != nullptr,
      };
      if (e.residual != nullptr) {
        out.residual =
            static_cast<const char*>(e.residual) + (row * e.residual_ld + job_.n0 + column) * residual_bytes_;
      }
      epilogue_(out);
    });
  }

  // Calls body(row, count, place) for pieces of rows [row, row + count) of C that lie ldc apart, the first of them at
  // element `place`.
  template <typename Body>
  void for_runs(int64_t row, int64_t count, Body&& body) const {
    const RowPlaces& p = job_.c_places;
    if (p.run == 0) return body(row, count, row * job_.ldc);
    for (const int64_t end = row + count; row < end;) {
      const int64_t line = row / p.run, at = row % p.run, n = std::min(end - row, p.run - at);
      body(row, n, line / p.lines * p.image + line % p.lines * p.line + at * job_.ldc);
      row += n;
    }
  }

  // The biases of a segment's columns, which the last tile of a row reads beyond N.
  const int32_t* starts(const int32_t* bias, int64_t columns, int64_t padded) {
    if (columns == padded) return bias;
    std::fill_n(std::copy_n(bias, columns, padded_bias_), padded - columns, 0);
    return padded_bias_;
  }

  // What the epilogue of the next rows of the chunk will write and add comes closer while the tiles before compute:
  // 1.1x to 1.4x on layers with short K whose output is larger than L2.
  void fetch_outputs(int64_t r0, int64_t count, int64_t column, int64_t columns) const {
    const Epilogue& e = *job_.epilogue;
    const int64_t row = start_ + r0;
    for_runs(row, count, [&](int64_t, int64_t n, int64_t place) {
      prefetch_rows<1>(job_.c_out, place + column, job_.ldc, out_bytes_, n, columns);
    });
    if (e.residual != nullptr && e.residual != job_.c_out) {
      prefetch_rows<0>(e.residual, row * e.residual_ld + job_.n0 + column, e.residual_ld, residual_bytes_, count,
                       columns);
    }
  }

  // The lines of `count` rows of `columns` elements, the first at element `first`; kWrite: to be written.
  template <int kWrite>
  static void prefetch_rows(const void* base, int64_t first, int64_t ld, int64_t bytes, int64_t count,
                            int64_t columns) {
    const char* p = static_cast<const char*>(base) + first * bytes;
    for (int64_t i = 0; i < count; ++i, p += ld * bytes) {
      for (int64_t at = 0; at < columns * bytes; at += 64) __builtin_prefetch(p + at, kWrite, 3);
    }
  }

  int32_t padded_bias_[kMaxAcc];
  const GemmJob& job_;
  const Plan& p_;
  char* scratch_;
  int64_t start_ = 0, rows_ = 0;                  // of the chunk
  int64_t expanded_from_ = 0, expanded_to_ = -1;  // panels
  TileArgs tile_{};
  EpilogueFn epilogue_;
  int64_t out_bytes_, residual_bytes_;
};

}  // namespace

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

size_t job_scratch(const GemmJob& job, int threads) {
  Plan p = make_plan(job, threads);
  return p.bytes * static_cast<size_t>(p.split_m * p.split_n);
}

void run_job(const GemmJob& job, void* scratch, int threads) {
  if (job.m == 0 || job.n == 0) return;
  const Plan p = make_plan(job, threads);
  const int64_t all_panels = ceil_div(job.n, kPanel);
  const int64_t across = p.split_m * p.row_pieces, along = p.split_n * p.panel_pieces;
  // Whole tiles for each piece where there are enough.
  const int64_t rows = ceil_div(job.m, across);
  const int64_t unit = rows >= 4 * p.tiles->max_rows[1] ? p.tiles->max_rows[1] : 1;
  const int64_t m_part = round_up(rows, unit);
  // The pieces of a part follow each other.
  const int64_t pieces = p.row_pieces * p.panel_pieces;
  parallel_shares(static_cast<int>(p.split_m * p.split_n), across * along, [&](int64_t worker, int64_t i) {
    const int64_t part = i / pieces, piece = i % pieces;
    const int64_t im = part / p.split_n * p.row_pieces + piece / p.panel_pieces;
    const int64_t in = part % p.split_n * p.panel_pieces + piece % p.panel_pieces;
    const int64_t m0 = std::min(job.m, im * m_part), m1 = std::min(job.m, m0 + m_part);
    const int64_t p0 = all_panels * in / along, p1 = all_panels * (in + 1) / along;
    Block(job, p, static_cast<char*>(scratch) + p.bytes * static_cast<size_t>(worker)).run(m0, m1, p0, p1);
  });
}

}  // namespace lowp::kernels
