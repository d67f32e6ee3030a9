// Inside the gemm family: how a job is divided, worked out anew for each run from shapes, types and the choice alone.
#pragma once

#include "kernels/gemm/driver.h"

namespace lowp::kernels {

// Bytes of panels that tiles of a few rows pass over together. Tiles stream them from L2 as fast as from L1
// (ResNet-50's 3 x 3 layers, whose panels are 147 KB, reach 93% of the peak in f32), and an output row is written in
// longer pieces: at 4 KB from row to row, pieces of one line fall into the same set of L1 and push each other out.
inline constexpr int64_t kPanelsInL2 = 128 << 10;
// Bytes that scratch has for each tile of a chunk (Block::Tile in driver.cc).
inline constexpr size_t kTileBytes = 16;

// Tiles that pass over two panels in a block of K (Plan::k_block): their sums, 16 KB, stay in L1 beside the panels.
inline constexpr int64_t kTilesOfBlock = 4;

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
  KernelChoice::Loop loop = KernelChoice::Loop::kFormula;
  int64_t split_m = 1, split_n = 1;
  int64_t row_pieces = 1, panel_pieces = 1;  // of a thread's part, which idle threads may take
  // One thread's scratch: accumulators, tiles, pointers, gathered rows, expanded panels.
  size_t acc_at = 0, tiles_at = 0, pointers_at = 0, gathered_at = 0, gathered_pointers_at = 0, expanded_at = 0,
         bytes = 0;
  // AMX: bytes of a row of A beyond the last whole 64, and where rows and panels are filled up to 64.
  int64_t tail = 0;
  size_t row_tails_at = 0, panel_tails_at = 0;
  // AMX: K is multiplied in blocks of so much, in which kTilesOfBlock tiles pass over two panels, where all tiles have
  // the same height; 0: at once.
  int64_t k_block = 0;
  bool amx() const { return tiles->amx(); }
  // AMX in place: tiles stay within lines of so many evenly spaced rows, or take two short ones, a register each; 0:
  // all rows are one line.
  int64_t line = 0;
  bool two_lines() const { return line != 0 && line <= kAmxRows; }
};

Plan make_plan(const GemmJob& job, int threads);

// Whether tiles turn their sums into outputs themselves (TileArgs::output).
bool can_finish(const GemmJob& job, const Plan& p);

// Panels of the next group where `left` remain: the cheapest way to cover them all.
int next_panels(const TileSet& tiles, int64_t m, int64_t left);

// Whether rows should meet all `panels` panels, by formula: output rows are then finished whole and written end to end
// (1.2x on 56 x 56 x 64 -> 256 in f32), else each group of panels passes over the chunk.
inline bool rows_first(const Plan& p, int64_t panels) { return panels * p.tile_stride <= kPanelsInL2 / 2; }

// Copies of panels in f32 are made for as many at a time as stay in L2.
inline bool rows_can_be_first(const Plan& p, int64_t panels) {
  return p.k > 0 && (p.expand == nullptr || panels * p.tile_stride <= kPanelsInL2);
}

}  // namespace lowp::kernels
