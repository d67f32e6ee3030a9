// INT8 for depthwise_blocks.inl.h: as many channels at a time as a register has bytes. A column of a tile is unpacked
// to words of several taps, the bytes of four rows or the halves of two, which serve all pixels whose windows they are
// in. Unpacking works within 128-bit lanes; the order of channels that it leaves is undone by packing the outputs,
// which works the same way. Where the kernel has one row more than fits, words hold several columns of that row.
#pragma once

#include "kernels/depthwise/depthwise_blocks_f32.inl.h"
#include "kernels/depthwise/depthwise_bytes.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

// Where the input pixels of a tile are. at(row, k): channel c of the k-th column after the current one.
// Anywhere: through the pointers; beside padding.
class Anywhere {
 public:
  Anywhere(const DepthwiseTiles& t, int64_t columns) : lines_(t.lines), column_(columns) {}
  [[gnu::always_inline]] void channel(int64_t c) { byte_ = c; }
  [[gnu::always_inline]] const char* at(int row, int k = 0) const {
    return static_cast<const char*>(lines_[row][column_ + k]) + byte_;
  }
  [[gnu::always_inline]] void next(int columns) { column_ += columns; }

 private:
  const void* const* const* lines_;
  int64_t column_, byte_ = 0;
};
// Inside the image, by steps: one addition a column instead of a pointer from memory for each row.
class Inside {
 public:
  Inside(const DepthwiseTiles& t, int64_t columns)
      : tile_(t.first + columns * t.step), pitch_(t.pitch), step_(t.step) {}
  [[gnu::always_inline]] void channel(int64_t c) { first_ = tile_ + c; }
  [[gnu::always_inline]] const char* at(int row, int k = 0) const { return first_ + row * pitch_ + (at_ + k * step_); }
  [[gnu::always_inline]] void next(int columns) {
    at_ += columns * step_;
    __asm__ volatile("" : "+r"(at_));  // or gcc 12 keeps all columns of one half for the other, on the stack
  }

 private:
  const char* tile_;
  const char* first_ = nullptr;
  int64_t pitch_, step_, at_ = 0;
};

// 32 registers hold the weights of a group of rows beside the sums: a kernel of 5 runs 1.2x, one of 3 1.15x to 1.27x as
// fast as with weights from memory for each product (Zen 5). They do not hold those of a row left over as well.
#if defined(__AVX512F__)
#define LOWP_WEIGHTS_AGAIN
#else
#define LOWP_WEIGHTS_AGAIN LOWP_LOAD_AGAIN
#endif

// Four taps in the bytes of a word; activations 0..127 where the target has no dot product of its own: 127 * 128 * 2
// fits 16 bit.
struct Quads {
  static constexpr int kTaps = 4;
  static constexpr bool kFlips = kHasDot;
};
// Two taps in the halves of a word, any activations.
struct Pairs {
  static constexpr int kTaps = 2;
  static constexpr bool kFlips = true;
};

template <typename V>
struct Constants {
  typename V::Vec ones, zero, flip;  // flip makes u8 of s8 where kFlips
};

template <typename Taps, bool kFirst, typename V>
[[gnu::always_inline]] inline void add_words(typename V::Vec& acc, typename V::Vec x, const char* w,
                                             const Constants<V>& k) {
#if defined(LOWP_HAS_DOT)
  acc = V::dot(kFirst ? k.zero : acc, x, V::load(w));
#else
  const typename V::Vec product =
      Taps::kTaps == 4 ? V::madd(V::maddubs(x, V::load(w)), k.ones) : V::madd(x, V::load(w));
  if (kFirst)
    acc = product;
  else
    V::add_into(acc, product);
#endif
}

// Bytes of a and b alternating: of each 16 channels the first 8 or (kHigh) the last.
template <typename V, bool kHigh>
[[gnu::always_inline]] inline typename V::Vec mix(typename V::Vec a, typename V::Vec b) {
  return kHigh ? V::high_bytes(a, b) : V::low_bytes(a, b);
}
template <typename Taps, typename V>
[[gnu::always_inline]] inline typename V::Vec flipped(typename V::Vec v, const Constants<V>& k) {
  return Taps::kFlips ? V::bit_xor(v, k.flip) : v;
}
// The same of inputs.
template <typename Taps, bool kHigh, typename V>
[[gnu::always_inline]] inline typename V::Vec mix_inputs(const char* a, const char* b, const Constants<V>& k) {
  return flipped<Taps>(V::template mix_loaded<kHigh>(a, b), k);
}

// Two vectors of words: of the 8 channels of each half the first 4, then the last.
template <typename V>
struct Words {
  typename V::Vec v[2];
};
template <typename V>
[[gnu::always_inline]] inline Words<V> quads(typename V::Vec a, typename V::Vec b) {
  return {{V::low_halves(a, b), V::high_halves(a, b)}};
}
template <typename V>
[[gnu::always_inline]] inline Words<V> widened(typename V::Vec a, const Constants<V>& k) {
  return {{V::low_bytes(a, k.zero), V::high_bytes(a, k.zero)}};
}

// A layer's words: groups of kTaps rows column by column, the last one with a row missing or not; then, where one row
// is left over, words of its columns.
template <typename V, typename Taps, int KH, int KW, int S>
struct Layout {
  static constexpr int kTaps = Taps::kTaps;
  static constexpr bool kLeftOver = KH % kTaps == 1;
  static constexpr int kGroups = (KH + kTaps - 2) / kTaps;
  // Words of the row left over: they start at columns 0, kTaps, ... of the window, but for the last one, which is to
  // lie inside the window and where other pixels need a word as well; all its taps but the row's last are zero.
  static constexpr int kRowWords = kLeftOver ? KW / kTaps + 1 : 0;
  static constexpr int start(int word) { return word + 1 < kRowWords ? word * kTaps : S + KW - 1 - kTaps; }
  static constexpr int kWords = kGroups * KW + kRowWords;
  static_assert(!kLeftOver || KW % kTaps == 1);

  // The tap that is in byte or half t of a word, or -1.
  static constexpr int tap(int word, int t) {
    if (word < kGroups * KW) {
      const int row = word / KW * kTaps + t;
      // Three rows are mixed as (r0, r1, nothing, r2).
      const int in_order = KH - word / KW * kTaps == 3 && kTaps == 4 ? (t == 2 ? KH : t == 3 ? row - 1 : row) : row;
      return in_order < KH ? in_order * KW + word % KW : -1;
    }
    const int r = word - kGroups * KW, first = start(r);
    return r + 1 == kRowWords && first + t != KW - 1 ? -1 : (KH - 1) * KW + first + t;
  }

  // Of a block of channels: weights [half][word][2][vector], then what Finish wants, [3][half][2][vector].
  static constexpr int64_t kWordBytes = 2 * V::kBytes, kHalfBytes = kWords * kWordBytes;
  static constexpr int64_t kEpilogueAt = 2 * kHalfBytes, kBlockBytes = kEpilogueAt + 3 * 2 * kWordBytes;
};

// The words of rows [row, row + kRows) at the current column.
template <typename Taps, int kRows, bool kHigh, typename V, typename Columns>
[[gnu::always_inline]] inline Words<V> column_words(const Columns& x, int row, const Constants<V>& k) {
  const typename V::Vec a = mix_inputs<Taps, kHigh>(x.at(row), x.at(row + 1), k);
  if constexpr (kRows == 2)
    return widened(a, k);
  else if constexpr (kRows == 3)
    return quads<V>(a, mix<V, kHigh>(k.zero, flipped<Taps>(V::load(x.at(row + 2)), k)));
  else
    return quads<V>(a, mix_inputs<Taps, kHigh>(x.at(row + 2), x.at(row + 3), k));
}

template <typename Taps, int P, int KH, int KW, int S, bool kHigh, typename V, typename Columns>
[[gnu::always_inline]] inline void half_tile(const Columns& start, const char* w, const Constants<V>& k,
                                             typename V::Vec (&acc)[P][2]) {
  using L = Layout<V, Taps, KH, KW, S>;
  LOWP_UNROLL for (int g = 0; g < L::kGroups; ++g, w += KW * L::kWordBytes) {
    Columns x = start;
    LOWP_UNROLL for (int j = 0; j < (P - 1) * S + KW; ++j, x.next(1)) {
      const Words<V> words = column_words < Taps, KH < L::kTaps ? KH : L::kTaps, kHigh > (x, g * L::kTaps, k);
      LOWP_UNROLL for (int q = 0; q < 2; ++q) {
        LOWP_UNROLL for (int i = 0; i < P; ++i) {
          if (j < i * S || j - i * S >= KW) continue;
          const char* at = w + (j - i * S) * L::kWordBytes + q * V::kBytes;
          if (g == 0 && j == i * S)
            add_words<Taps, true>(acc[i][q], words.v[q], at, k);
          else
            add_words<Taps, false>(acc[i][q], words.v[q], at, k);
        }
      }
      LOWP_WEIGHTS_AGAIN;
    }
  }
  if constexpr (L::kLeftOver) {
    // Words that start at column j need columns up to j + kTaps - 1; one beyond the tile's last can only meet a zero
    // weight, and the last is read in its place.
    constexpr int kLast = (P - 1) * S + KW - 1, kEnd = (P - 1) * S + L::start(L::kRowWords - 1);
    auto mixed = [&](const Columns& x, int j) __attribute__((always_inline)) {
      return mix_inputs<Taps, kHigh>(x.at(KH - 1), x.at(KH - 1, j < kLast ? 1 : 0), k);
    };
    Columns x = start;
    typename V::Vec pair[kEnd + 3];
    if constexpr (L::kTaps == 4) {
      LOWP_UNROLL for (int j = 0; j < 2; j += S, x.next(S)) pair[j] = mixed(x, j);
    }
    LOWP_UNROLL for (int j = 0; j <= kEnd; j += S, x.next(S)) {
      Words<V> words;
      if constexpr (L::kTaps == 4) {
        pair[j + 2] = mixed(x, j + 2);
        words = quads<V>(pair[j], pair[j + 2]);
      } else {
        words = widened(mixed(x, j), k);
      }
      LOWP_UNROLL for (int q = 0; q < 2; ++q) {
        LOWP_UNROLL for (int i = 0; i < P; ++i) {
          LOWP_UNROLL for (int r = 0; r < L::kRowWords; ++r) {
            if (i * S + L::start(r) == j) {
              add_words<Taps, false>(acc[i][q], words.v[q], w + r * L::kWordBytes + q * V::kBytes, k);
            }
          }
        }
      }
      LOWP_LOAD_AGAIN;
    }
  }
}

// Quantized outputs that a clamp keeps at or above the zero point, as relu does: RequantIn and OutQuantized
// (epilogue.inl.h) in fewer instructions, to the same bits. s = sum + bias, m its scale in steps of the output:
//   - 0x4b000000 is 2^23 and the bits of the float 2^23, so for 0 <= s < 2^23 the bits of the float 2^23 + s are
//     0x4b000000 + s, and fma(2^23 + s, m, -2^23 m) rounds s m once, as f32(s) * m does. A negative s is taken for s /
//     2, which ends at the clamp as well.
//   - Where s m fits s32 the upper end can be clamped after rounding, in bytes.
// s8 outputs are u8 ones with their zero point 128 higher, until they are stored. On Zen 3 1.1x as fast in all.
constexpr int kOne = 0x4b000000;
bool finish_takes(const DepthwiseShape& shape) {
  const Epilogue& e = *shape.epilogue;
  const bool quantized = e.out == DType::kU8 || e.out == DType::kI8;
  if (!quantized || !shape.range.is_all || e.residual != nullptr || e.scale == nullptr || shape.range.low < e.out_zero)
    return false;
  F32 least = LOWP_TARGET::zero(), most = LOWP_TARGET::zero(), bias = LOWP_TARGET::zero();
  for_lanes(
      shape.c, [&](int64_t c, int lanes) __attribute__((always_inline)) {
        const F32 m = load_n(e.scale + c, lanes) * set(e.out_inv_scale);
        least = min_nan(least, m);
        most = max_nan(most, m);
        if (e.bias_s32 != nullptr) bias = max(bias, abs(to_float(load_int_n(e.bias_s32 + c, lanes))));
      });
  // Sums of 25 taps are below 2^20.
  return reduce_min_nan(least) >= 0.0f && reduce_max_nan(most) < 0x1p7f && reduce_max(bias) <= 0x1p22f;
}
template <typename V>
struct Finish {
  using Vec = typename V::Vec;
  Vec zero, low, high, sign;
  explicit Finish(const DepthwiseShape& shape) {
    const int shift = shape.epilogue->out == DType::kI8 ? 128 : 0;
    zero = V::set16(shape.epilogue->out_zero + shift);
    low = V::set8(shape.range.low + shift);
    high = V::set8(shape.range.high + shift);
    sign = V::set8(shift);
  }
  // Outputs of a half as 16 bits, their order that of the sums' bytes before they were widened. `half`: bias + kOne,
  // scale and -2^23 scale of a half, two vectors of each, kStep apart.
  static constexpr int64_t kStep = 4 * V::kBytes;
  [[gnu::always_inline]] Vec words(const Vec (&acc)[2], const char* half) const {
    Vec q[2];
    LOWP_UNROLL for (int i = 0; i < 2; ++i) {
      const char* at = half + i * V::kBytes;
      q[i] = V::scaled(V::add32(acc[i], V::load(at)), V::load(at + kStep), V::load(at + 2 * kStep));
    }
    return V::adds16(V::packs32(q[0], q[1]), zero);
  }
  [[gnu::always_inline]] Vec bytes(Vec lo, Vec hi) const {
    return V::bit_xor(V::max8(V::min8(V::packus16(lo, hi), high), low), sign);
  }
};

// The sums of a half, in the order of channels.
template <typename V, int P, bool kHigh>
[[gnu::always_inline]] inline void store_sums(const typename V::Vec (&acc)[P][2], int32_t* out, int64_t ld) {
  LOWP_UNROLL for (int p = 0; p < P; ++p) {
    LOWP_UNROLL for (int q = 0; q < 2; ++q) V::store_fours(out + p * ld + (kHigh ? 8 : 0) + 4 * q, acc[p][q]);
  }
}

// P pixels of a block of channels from c on.
template <typename V, typename Taps, int P, int KH, int KW, int S, typename Columns>
[[gnu::always_inline]] inline void block_s8(const DepthwiseTiles& t, int64_t tile, Columns& x, int64_t c,
                                            const char* block) {
  using L = Layout<V, Taps, KH, KW, S>;
  using Vec = typename V::Vec;
  const Constants<V> k = {V::set16(1), V::set8(0), V::set8(t.shape->in_dtype == DType::kI8 ? 0x80 : 0)};
  const int64_t at = c - t.c0;
  Vec acc[P][2];
  x.channel(c);
  half_tile<Taps, P, KH, KW, S, false>(x, block, k, acc);
  if (t.acc == nullptr) {
    const Finish<V> finish(*t.shape);
    Vec words[P];
    LOWP_UNROLL for (int p = 0; p < P; ++p) words[p] = finish.words(acc[p], block + L::kEpilogueAt);
    half_tile<Taps, P, KH, KW, S, true>(x, block + L::kHalfBytes, k, acc);
    char* out = t.out + tile * P * t.out_ld + at;
    LOWP_UNROLL for (int p = 0; p < P; ++p) {
      V::store(out + p * t.out_ld,
               finish.bytes(words[p], finish.words(acc[p], block + L::kEpilogueAt + 2 * V::kBytes)));
    }
  } else {
    int32_t* sums = static_cast<int32_t*>(t.acc) + tile * P * t.acc_ld + at;
    store_sums<V, P, false>(acc, sums, t.acc_ld);
    half_tile<Taps, P, KH, KW, S, true>(x, block + L::kHalfBytes, k, acc);
    store_sums<V, P, true>(acc, sums, t.acc_ld);
  }
}

// Calls body.operator()<V>(c) for the blocks of the channels [first, last) of `total`, the first a multiple of
// WideBytes', the last too or the end. A block at the end overlaps the one before rather than reach beyond it; it is a
// narrow one where that holds what is left.
template <typename Body>
[[gnu::always_inline]] inline void for_blocks(int64_t first, int64_t last, int64_t total, Body&& body) {
  for (int64_t c = first; c < last;) {
    if constexpr (WideBytes::kBytes > Bytes32::kBytes) {
      if (last - c > Bytes32::kBytes && total >= WideBytes::kBytes) {
        body.template operator()<WideBytes>(block_start<WideBytes::kBytes>(c, total));
        c += WideBytes::kBytes;
        continue;
      }
    }
    body.template operator()<Bytes32>(block_start<Bytes32::kBytes>(c, total));
    c += Bytes32::kBytes;
  }
}

template <typename Taps, int P, int KH, int KW, int S, typename Columns>
void tile_s8_blocks(const DepthwiseTiles& t) {
  using Wide = Layout<WideBytes, Taps, KH, KW, S>;
  for (int64_t tile = 0; tile < t.count; ++tile) {
    Columns x(t, tile * P * S);
    const char* block = static_cast<const char*>(t.weights) + t.c0 / WideBytes::kBytes * Wide::kBlockBytes;
    for_blocks(
        t.c0, t.c0 + t.channels, t.shape->c, [&]<typename V>(int64_t c) __attribute__((always_inline)) {
          block_s8<V, Taps, P, KH, KW, S>(t, tile, x, c, block);
          block += Layout<V, Taps, KH, KW, S>::kBlockBytes;
        });
  }
}

// Weights, bias and scale of a block of channels from c on.
template <typename V, typename Taps, int KH, int KW, int S>
void prepare_block(const DepthwiseShape& shape, const char* weights, int64_t c, char* out) {
  using L = Layout<V, Taps, KH, KW, S>;
  using Vec = typename V::Vec;
  const Epilogue& e = *shape.epilogue;
  LOWP_UNROLL for (int word = 0; word < L::kWords; ++word) {
    auto tap = [&](int t) __attribute__((always_inline)) {
      const int at = L::tap(word, t);
      return at < 0 ? V::set8(0) : V::load(weights + at * shape.columns + c);
    };
    auto half = [&]<bool kHigh>() __attribute__((always_inline)) {
      char* at = out + kHigh * L::kHalfBytes + word * L::kWordBytes;
      const Vec a = mix<V, kHigh>(tap(0), tap(1));
      if constexpr (L::kTaps == 4) {
        const Words<V> q = quads<V>(a, mix<V, kHigh>(tap(2), tap(3)));
        V::store(at, q.v[0]), V::store(at + V::kBytes, q.v[1]);
      } else {
        const Vec negative = V::signs(a);
        V::store(at, V::low_bytes(a, negative)), V::store(at + V::kBytes, V::high_bytes(a, negative));
      }
    };
    half.template operator()<false>();
    half.template operator()<true>();
  }
  if (!shape.finishes) return;
  constexpr int64_t kStep = Finish<V>::kStep;
  for (int64_t at = 0; at < V::kBytes; at += 4) {  // four channels: their places in the order of the sums
    char* to = out + L::kEpilogueAt + at % 16 / 4 * V::kBytes + at / 16 * 16;
    const __m128i bias = e.bias_s32 != nullptr ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(e.bias_s32 + c + at))
                                               : _mm_setzero_si128();
    const __m128 scale = _mm_mul_ps(_mm_loadu_ps(e.scale + c + at), _mm_set1_ps(e.out_inv_scale));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_add_epi32(bias, _mm_set1_epi32(kOne)));
    _mm_storeu_ps(reinterpret_cast<float*>(to + kStep), scale);
    _mm_storeu_ps(reinterpret_cast<float*>(to + 2 * kStep), _mm_mul_ps(scale, _mm_set1_ps(-0x1p23f)));
  }
}

template <typename Taps, int KH, int KW, int S>
void prepare_blocks(const DepthwiseShape& shape, const void* packed, void* prepared) {
  char* out = static_cast<char*>(prepared);
  for_blocks(0, shape.c, shape.c, [&]<typename V>(int64_t c) {
    prepare_block<V, Taps, KH, KW, S>(shape, static_cast<const char*>(packed), c, out);
    out += Layout<V, Taps, KH, KW, S>::kBlockBytes;
  });
}
template <typename Taps, int KH, int KW, int S>
size_t prepared_bytes(const DepthwiseShape& shape) {
  int64_t bytes = 0;
  for_blocks(0, shape.c, shape.c, [&]<typename V>(int64_t) { bytes += Layout<V, Taps, KH, KW, S>::kBlockBytes; });
  return static_cast<size_t>(bytes);
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
