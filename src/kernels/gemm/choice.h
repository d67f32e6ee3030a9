// How one layer is computed, where its kernel can do it in several ways. Every way gives the same bits
// (docs/numerics.md: blocking and threads never change them); which is fastest depends on the CPU and the shape, and is
// measured when a model is compiled (runtime/tune.h). A default choice leaves everything to the kernel's formulas.
#pragma once

#include <cstdint>
#include <string>

namespace lowp::kernels {

struct KernelChoice {
  enum class Loop : uint8_t {
    kFormula,
    kColumnsOutside,  // a group of panels passes over all rows of a chunk (depthwise: a group of channels over all
                      // lines)
    kRowsOutside,     // rows of a tile meet all panels before the next rows (depthwise: pixels meet all channels)
  };
  enum class Algorithm : uint8_t { kFormula, kDirect, kWinograd };  // conv: winograd_int8.h
  Algorithm algorithm = Algorithm::kFormula;
  uint8_t width = 0;  // panels of a tile; depthwise: pixels of a tile. 0: by formula
  Loop loop = Loop::kFormula;
  bool gather = false;               // rows are copied end to end before tiles read them, also where they could stay
  int32_t chunk = 0;                 // rows of A between two passes over B; 0: by formula
  int32_t split_m = 0, split_n = 0;  // threads along rows and along columns; 0: by formula
  bool operator==(const KernelChoice&) const = default;

  // The choice has two sides, which hardly influence each other: how tiles walk over a block, and the blocks.
  bool sets_tiles() const { return algorithm != Algorithm::kFormula || width != 0 || loop != Loop::kFormula || gather; }
  bool sets_blocks() const { return chunk != 0 || split_m != 0; }
  static KernelChoice combined(const KernelChoice& tiles, const KernelChoice& blocks) {
    return {tiles.algorithm, tiles.width, tiles.loop, tiles.gather, blocks.chunk, blocks.split_m, blocks.split_n};
  }
};

// "formula", "winograd", "tile=4 loop=rows gather chunk=112 threads=2x1": each choice has one text and each text one
// choice.
std::string choice_text(const KernelChoice& choice);

// Part of what measurements are filed under: raised when kernels change so much that old measurements mean nothing.
inline constexpr int kKernelVersion = 8;

}  // namespace lowp::kernels
