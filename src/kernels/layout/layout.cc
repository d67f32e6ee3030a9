#include "kernels/layout/layout.h"

#include <cstring>

#include "kernels/layout/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(LayoutTable, layout_table)

namespace lowp::kernels {
namespace {

// Side of the squares of a transposing copy: 32 x 32 floats of both sides are 8 KiB, a fraction of L1, and a row of a
// square is whole cache lines.
constexpr int64_t kSquare = 32;
// Pixels that are put together from planes at a time: enough that a call costs nothing, few enough to share.
constexpr int64_t kPixels = 2048;

// The nest in a normal form: dimensions of 1 gone, neighbours merged, at least one dimension left; false if it is
// empty.
bool normalize(const StridedCopy& in, StridedCopy* out) {
  *out = {};
  for (int i = 0; i < in.rank; ++i) {
    if (in.dims[i] == 0) return false;
    if (in.dims[i] == 1) continue;
    int last = out->rank - 1;
    if (last >= 0 && out->x_strides[last] == in.x_strides[i] * in.dims[i] &&
        out->y_strides[last] == in.y_strides[i] * in.dims[i]) {
      out->dims[last] *= in.dims[i];
      out->x_strides[last] = in.x_strides[i];
      out->y_strides[last] = in.y_strides[i];
      continue;
    }
    out->dims[out->rank] = in.dims[i];
    out->x_strides[out->rank] = in.x_strides[i];
    out->y_strides[out->rank] = in.y_strides[i];
    ++out->rank;
  }
  if (out->rank == 0) {
    out->rank = 1;
    out->dims[0] = out->x_strides[0] = out->y_strides[0] = 1;
  }
  return true;
}

void move_to_end(StridedCopy* c, int i, int end) {
  for (; i + 1 < end; ++i) {
    std::swap(c->dims[i], c->dims[i + 1]);
    std::swap(c->x_strides[i], c->x_strides[i + 1]);
    std::swap(c->y_strides[i], c->y_strides[i + 1]);
  }
}

// One row along y's contiguous (or innermost) dimension.
template <typename T>
void copy_row(const T* x, T* y, int64_t n, int64_t x_stride, int64_t y_stride) {
  if (x_stride == 1 && y_stride == 1) {
    memcpy(y, x, static_cast<size_t>(n) * sizeof(T));
  } else if (x_stride == 0 && y_stride == 1) {
    T value = *x;
    for (int64_t i = 0; i < n; ++i) y[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * y_stride] = x[i * x_stride];
  }
}

// [a, b] with x contiguous along a and y along b.
template <typename T>
void transpose_block(const T* x, T* y, int64_t a, int64_t b, int64_t x_stride_b, int64_t y_stride_a) {
  constexpr int64_t kTile = 8;
  int64_t i = 0;
  for (; i + kTile <= a; i += kTile) {
    int64_t j = 0;
    for (; j + kTile <= b; j += kTile) {
      T tile[kTile][kTile];
      for (int64_t q = 0; q < kTile; ++q) {
        for (int64_t p = 0; p < kTile; ++p) tile[p][q] = x[i + p + (j + q) * x_stride_b];
      }
      for (int64_t p = 0; p < kTile; ++p) memcpy(y + (i + p) * y_stride_a + j, tile[p], sizeof tile[p]);
    }
    for (; j < b; ++j) {
      for (int64_t p = 0; p < kTile; ++p) y[(i + p) * y_stride_a + j] = x[i + p + j * x_stride_b];
    }
  }
  for (; i < a; ++i) {
    for (int64_t j = 0; j < b; ++j) y[i * y_stride_a + j] = x[i + j * x_stride_b];
  }
}

// As transpose_block where b is a whole pixel of a few planes: an image of three takes a tenth of the time.
template <typename T>
constexpr bool kInterleaves = sizeof(T) <= 4;
template <typename T>
void interleave_planes(const T* x, T* y, int64_t pixels, int64_t planes, int64_t plane_step) {
  const LayoutTable& table = LOWP_SELECT_TABLE(layout_table);
  if constexpr (sizeof(T) == 1) table.interleave_1(x, plane_step, planes, y, pixels);
  if constexpr (sizeof(T) == 2) table.interleave_2(x, plane_step, planes, y, pixels);
  if constexpr (sizeof(T) == 4) table.interleave_4(x, plane_step, planes, y, pixels);
}

template <typename T>
void copy_typed(StridedCopy c, const T* x, T* y, int threads) {
  if (c.rank == 1) {
    parallel_ranges(
        threads, c.dims[0], 4 * kGrainElements / static_cast<int64_t>(sizeof(T)), 64, [&](int64_t begin, int64_t end) {
          copy_row(x + begin * c.x_strides[0], y + begin * c.y_strides[0], end - begin, c.x_strides[0], c.y_strides[0]);
        });
    return;
  }
  int last = c.rank - 1;
  // y's contiguous dimension innermost; where x is contiguous along another, that one next to it.
  for (int i = 0; i < last; ++i) {
    if (c.y_strides[i] == 1 && c.y_strides[last] != 1) move_to_end(&c, i, c.rank);
  }
  bool square = false;
  if (c.y_strides[last] == 1 && c.x_strides[last] != 1 && c.x_strides[last] != 0) {
    for (int i = 0; i < last && !square; ++i) {
      if (c.x_strides[i] == 1) {
        move_to_end(&c, i, last);
        square = true;
      }
    }
  }
  int nested = square ? c.rank - 2 : c.rank - 1;  // dimensions outside a row or a matrix
  int64_t count = 1, size = c.dims[last];
  for (int i = 0; i < nested; ++i) count *= c.dims[i];
  const bool planes = kInterleaves<T> && square && c.dims[last] >= 2 && c.dims[last] <= kMaxPlanes &&
                      c.y_strides[last - 1] == c.dims[last];
  const int64_t side = planes ? kPixels : kSquare;
  int64_t strips = 1;
  if (square) {
    strips = (c.dims[last - 1] + side - 1) / side;
    size *= std::min(side, c.dims[last - 1]);
  }
  parallel_ranges(threads, count * strips, 4 * kGrainElements / static_cast<int64_t>(sizeof(T)) / size, 1,
                  [&](int64_t begin, int64_t end) {
                    for (int64_t r = begin; r < end; ++r) {
                      int64_t rest = r / strips;
                      const T* px = x;
                      T* py = y;
                      for (int i = nested - 1; i >= 0; --i) {
                        int64_t index = rest % c.dims[i];
                        rest /= c.dims[i];
                        px += index * c.x_strides[i];
                        py += index * c.y_strides[i];
                      }
                      if (!square) {
                        copy_row(px, py, c.dims[last], c.x_strides[last], c.y_strides[last]);
                        continue;
                      }
                      int64_t a0 = r % strips * side, a = std::min(side, c.dims[last - 1] - a0);
                      int64_t sx = c.x_strides[last], sy = c.y_strides[last - 1];
                      if (planes) {
                        interleave_planes(px + a0, py + a0 * sy, a, c.dims[last], sx);
                        continue;
                      }
                      for (int64_t b0 = 0; b0 < c.dims[last]; b0 += kSquare) {
                        int64_t b = std::min(kSquare, c.dims[last] - b0);
                        transpose_block(px + a0 + b0 * sx, py + a0 * sy + b0, a, b, sx, sy);
                      }
                    }
                  });
}

}  // namespace

void strided_copy(const StridedCopy& copy, size_t element_bytes, const void* x, void* y, int threads) {
  StridedCopy c;
  if (!normalize(copy, &c)) return;
  switch (element_bytes) {
    case 1: return copy_typed(c, static_cast<const uint8_t*>(x), static_cast<uint8_t*>(y), threads);
    case 2: return copy_typed(c, static_cast<const uint16_t*>(x), static_cast<uint16_t*>(y), threads);
    case 4: return copy_typed(c, static_cast<const uint32_t*>(x), static_cast<uint32_t*>(y), threads);
    default: return copy_typed(c, static_cast<const uint64_t*>(x), static_cast<uint64_t*>(y), threads);
  }
}

void transpose(const int64_t* x_shape, const int* perm, int rank, size_t element_bytes, const void* x, void* y,
               int threads) {
  StridedCopy c;
  c.rank = rank;
  int64_t x_strides[kMaxLayoutRank];
  int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    x_strides[i] = stride;
    stride *= x_shape[i];
  }
  stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    c.dims[i] = x_shape[perm[i]];
    c.x_strides[i] = x_strides[perm[i]];
    c.y_strides[i] = stride;
    stride *= c.dims[i];
  }
  strided_copy(c, element_bytes, x, y, threads);
}

void fill(const void* value, size_t element_bytes, void* y, int64_t count, int threads) {
  StridedCopy c;
  c.rank = 1;
  c.dims[0] = count;
  c.y_strides[0] = 1;
  strided_copy(c, element_bytes, value, y, threads);
}

}  // namespace lowp::kernels
