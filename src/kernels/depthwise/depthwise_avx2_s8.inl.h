// INT8 for depthwise_avx2.inl.h: 32 channels at a time. A column of a tile is unpacked to words of several taps, the
// bytes of four rows or the halves of two, which serve all pixels whose windows they are in. Unpacking works within
// 128-bit lanes; the order of channels that it leaves is undone by packing the outputs, which works the same way. Where
// the kernel has one row more than fits, words hold several columns of that row.
#pragma once

#include "kernels/depthwise/depthwise_avx2_f32.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

using Vec = __m256i;

[[gnu::always_inline]] inline Vec load_vec(const char* p) {
  return _mm256_loadu_si256(reinterpret_cast<const Vec*>(p));
}
[[gnu::always_inline]] inline void store_vec(char* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<Vec*>(p), v); }

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

// Four taps in the bytes of a word; activations 0..127 where the target has no dot product of its own: 127 * 128 * 2
// fits 16 bit.
struct Quads {
  static constexpr int kTaps = 4;
#if defined(__AVXVNNI__)
  static constexpr bool kFlips = true;
#else
  static constexpr bool kFlips = false;
#endif
};
// Two taps in the halves of a word, any activations.
struct Pairs {
  static constexpr int kTaps = 2;
  static constexpr bool kFlips = true;
};

struct Constants {
  Vec ones, zero, flip;  // flip makes u8 of s8 where kFlips
};

[[gnu::always_inline]] inline void add_into(Vec& sum, Vec b) { __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(b)); }

template <typename Taps, bool kFirst>
[[gnu::always_inline]] inline void add_words(Vec& acc, Vec x, const char* w, const Constants& k) {
#if defined(__AVXVNNI__)
  acc = _mm256_dpbusd_avx_epi32(kFirst ? k.zero : acc, x, load_vec(w));
#else
  const Vec product = Taps::kTaps == 4 ? _mm256_madd_epi16(_mm256_maddubs_epi16(x, load_vec(w)), k.ones)
                                       : _mm256_madd_epi16(x, load_vec(w));
  if (kFirst)
    acc = product;
  else
    add_into(acc, product);
#endif
}

// Bytes of a and b alternating: of channels 0-7 and 16-23, or (kHigh) 8-15 and 24-31.
template <bool kHigh>
[[gnu::always_inline]] inline Vec mix(Vec a, Vec b) {
  return kHigh ? _mm256_unpackhi_epi8(a, b) : _mm256_unpacklo_epi8(a, b);
}
template <typename Taps>
[[gnu::always_inline]] inline Vec flipped(Vec v, const Constants& k) {
  return Taps::kFlips ? _mm256_xor_si256(v, k.flip) : v;
}
// The same of inputs. In one piece: gcc 12 takes a loaded vector to the stack and back.
template <typename Taps, bool kHigh>
[[gnu::always_inline]] inline Vec mix_inputs(const char* a, const char* b, const Constants& k) {
  Vec v;
  if constexpr (kHigh) {
    __asm__("vmovdqu %1, %0\n\tvpunpckhbw %2, %0, %0"
            : "=&x"(v)
            : "m"(*reinterpret_cast<const __m256i_u*>(a)), "m"(*reinterpret_cast<const __m256i_u*>(b)));
  } else {
    __asm__("vmovdqu %1, %0\n\tvpunpcklbw %2, %0, %0"
            : "=&x"(v)
            : "m"(*reinterpret_cast<const __m256i_u*>(a)), "m"(*reinterpret_cast<const __m256i_u*>(b)));
  }
  return flipped<Taps>(v, k);
}

// Two vectors of words: of the half's channels 0-3 and 16-19, then 4-7 and 20-23.
struct Words {
  Vec v[2];
};
[[gnu::always_inline]] inline Words quads(Vec a, Vec b) {
  return {{_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)}};
}
[[gnu::always_inline]] inline Words widened(Vec a, const Constants& k) {
  return {{_mm256_unpacklo_epi8(a, k.zero), _mm256_unpackhi_epi8(a, k.zero)}};
}

// A layer's words: groups of kTaps rows column by column, the last one with a row missing or not; then, where one row
// is left over, words of its columns.
template <typename Taps, int KH, int KW, int S>
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

  // Of a block of 32 channels: weights [half][word][2][32 bytes], then what Finish wants, [3][half][2][8].
  static constexpr int64_t kWordBytes = 64, kHalfBytes = kWords * kWordBytes;
  static constexpr int64_t kEpilogueAt = 2 * kHalfBytes, kBlockBytes = kEpilogueAt + 3 * 128;
};

// The words of rows [row, row + kRows) at the current column.
template <typename Taps, int kRows, bool kHigh, typename Columns>
[[gnu::always_inline]] inline Words column_words(const Columns& x, int row, const Constants& k) {
  const Vec a = mix_inputs<Taps, kHigh>(x.at(row), x.at(row + 1), k);
  if constexpr (kRows == 2)
    return widened(a, k);
  else if constexpr (kRows == 3)
    return quads(a, mix<kHigh>(k.zero, flipped<Taps>(load_vec(x.at(row + 2)), k)));
  else
    return quads(a, mix_inputs<Taps, kHigh>(x.at(row + 2), x.at(row + 3), k));
}

template <typename Taps, int P, int KH, int KW, int S, bool kHigh, typename Columns>
[[gnu::always_inline]] inline void half_tile(const Columns& start, const char* w, const Constants& k,
                                             Vec (&acc)[P][2]) {
  using L = Layout<Taps, KH, KW, S>;
  LOWP_UNROLL for (int g = 0; g < L::kGroups; ++g, w += KW * L::kWordBytes) {
    Columns x = start;
    LOWP_UNROLL for (int j = 0; j < (P - 1) * S + KW; ++j, x.next(1)) {
      const Words words = column_words < Taps, KH < L::kTaps ? KH : L::kTaps, kHigh > (x, g * L::kTaps, k);
      LOWP_UNROLL for (int q = 0; q < 2; ++q) {
        LOWP_UNROLL for (int i = 0; i < P; ++i) {
          if (j < i * S || j - i * S >= KW) continue;
          const char* at = w + (j - i * S) * L::kWordBytes + q * 32;
          if (g == 0 && j == i * S)
            add_words<Taps, true>(acc[i][q], words.v[q], at, k);
          else
            add_words<Taps, false>(acc[i][q], words.v[q], at, k);
        }
      }
      LOWP_LOAD_AGAIN;
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
    Vec pair[kEnd + 3];
    if constexpr (L::kTaps == 4) {
      LOWP_UNROLL for (int j = 0; j < 2; j += S, x.next(S)) pair[j] = mixed(x, j);
    }
    LOWP_UNROLL for (int j = 0; j <= kEnd; j += S, x.next(S)) {
      Words words;
      if constexpr (L::kTaps == 4) {
        pair[j + 2] = mixed(x, j + 2);
        words = quads(pair[j], pair[j + 2]);
      } else {
        words = widened(mixed(x, j), k);
      }
      LOWP_UNROLL for (int q = 0; q < 2; ++q) {
        LOWP_UNROLL for (int i = 0; i < P; ++i) {
          LOWP_UNROLL for (int r = 0; r < L::kRowWords; ++r) {
            if (i * S + L::start(r) == j) {
              add_words<Taps, false>(acc[i][q], words.v[q], w + r * L::kWordBytes + q * 32, k);
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
struct Finish {
  static constexpr int kOne = 0x4b000000;
  Vec zero, low, high, sign;
  explicit Finish(const DepthwiseShape& shape) {
    const Epilogue& e = *shape.epilogue;
    const Range r(shape);
    zero = _mm256_set1_epi16(static_cast<short>(e.out_zero + r.shift));
    low = _mm256_set1_epi8(static_cast<char>(r.low + r.shift));
    high = _mm256_set1_epi8(static_cast<char>(r.high + r.shift));
    sign = _mm256_set1_epi8(static_cast<char>(r.shift));
  }
  static bool takes(const DepthwiseShape& shape) {
    const Epilogue& e = *shape.epilogue;
    const bool quantized = e.out == DType::kU8 || e.out == DType::kI8;
    if (!quantized || !is_clamp(e) || e.residual != nullptr || e.scale == nullptr || Range(shape).low < e.out_zero)
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
  // 16 outputs as halves, their order that of the sums' bytes before they were widened. `half`: bias + kOne, scale and
  // -2^23 scale of a half, 64 bytes of each, kEpilogueStep apart.
  [[gnu::always_inline]] Vec words(const Vec (&acc)[2], const char* half) const {
    Vec q[2];
    LOWP_UNROLL for (int i = 0; i < 2; ++i) {
      const __m256 s = _mm256_castsi256_ps(_mm256_add_epi32(acc[i], load_vec(half + 32 * i)));
      const __m256 scale = _mm256_loadu_ps(reinterpret_cast<const float*>(half + kEpilogueStep + 32 * i));
      const __m256 offset = _mm256_loadu_ps(reinterpret_cast<const float*>(half + 2 * kEpilogueStep + 32 * i));
      q[i] = _mm256_cvtps_epi32(_mm256_fmadd_ps(s, scale, offset));
    }
    return _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), zero);
  }
  [[gnu::always_inline]] Vec bytes(Vec lo, Vec hi) const {
    return _mm256_xor_si256(_mm256_max_epu8(_mm256_min_epu8(_mm256_packus_epi16(lo, hi), high), low), sign);
  }
  static constexpr int64_t kEpilogueStep = 128;

 private:
  // The clamp's ends as stored values.
  struct Range {
    int low, high, shift;
    explicit Range(const DepthwiseShape& shape)
        : low(shape.range.low),
          high(static_cast<int>(__builtin_rintf(shape.range.upper)) + shape.epilogue->out_zero),
          shift(shape.epilogue->out == DType::kI8 ? 128 : 0) {}
  };
};

// The sums of a half, in the order of channels.
template <int P, bool kHigh>
[[gnu::always_inline]] inline void store_sums(const Vec (&acc)[P][2], int32_t* out, int64_t ld) {
  LOWP_UNROLL for (int p = 0; p < P; ++p) {
    LOWP_UNROLL for (int q = 0; q < 2; ++q) {
      int32_t* at = out + p * ld + (kHigh ? 8 : 0) + 4 * q;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm256_castsi256_si128(acc[p][q]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(at + 16), _mm256_extracti128_si256(acc[p][q], 1));
    }
  }
}

template <typename Taps, int P, int KH, int KW, int S, typename Columns>
void tile_s8_by32(const DepthwiseTiles& t) {
  using L = Layout<Taps, KH, KW, S>;
  const DepthwiseShape& shape = *t.shape;
  const Finish finish(shape);
  const Constants k = {_mm256_set1_epi16(1), _mm256_setzero_si256(),
                       _mm256_set1_epi8(static_cast<char>(shape.in_dtype == DType::kI8 ? 0x80 : 0))};
  const int64_t end = (t.c0 + t.channels + 31) / 32;
  for (int64_t tile = 0; tile < t.count; ++tile) {
    Columns x(t, tile * P * S);
    int32_t* sums = static_cast<int32_t*>(t.acc) + tile * P * t.acc_ld;
    for (int64_t b = t.c0 / 32; b < end; ++b) {
      const int64_t c = block_start<32>(b, shape.c), at = c - t.c0;
      const char* block = static_cast<const char*>(t.weights) + b * L::kBlockBytes;
      x.channel(c);
      Vec acc[P][2], words[P];
      half_tile<Taps, P, KH, KW, S, false>(x, block, k, acc);
      if (t.acc == nullptr) {
        LOWP_UNROLL for (int p = 0; p < P; ++p) words[p] = finish.words(acc[p], block + L::kEpilogueAt);
      } else {
        store_sums<P, false>(acc, sums + at, t.acc_ld);
      }
      half_tile<Taps, P, KH, KW, S, true>(x, block + L::kHalfBytes, k, acc);
      if (t.acc == nullptr) {
        char* out = t.out + tile * P * t.out_ld + at;
        LOWP_UNROLL for (int p = 0; p < P; ++p) {
          store_vec(out + p * t.out_ld, finish.bytes(words[p], finish.words(acc[p], block + L::kEpilogueAt + 64)));
        }
      } else {
        store_sums<P, true>(acc, sums + at, t.acc_ld);
      }
    }
  }
}

// Weights, bias and scale by blocks.
template <typename Taps, int KH, int KW, int S>
void prepare_blocks(const DepthwiseShape& shape, const void* packed, void* prepared) {
  using L = Layout<Taps, KH, KW, S>;
  const Epilogue& e = *shape.epilogue;
  const char* weights = static_cast<const char*>(packed);
  char* out = static_cast<char*>(prepared);
  const Vec zero = _mm256_setzero_si256();
  for (int64_t b = 0; b < (shape.c + 31) / 32; ++b, out += L::kBlockBytes) {
    const int64_t c = block_start<32>(b, shape.c);
    LOWP_UNROLL for (int word = 0; word < L::kWords; ++word) {
      auto tap = [&](int t) __attribute__((always_inline)) {
        const int at = L::tap(word, t);
        return at < 0 ? zero : load_vec(weights + at * shape.columns + c);
      };
      auto half = [&]<bool kHigh>() __attribute__((always_inline)) {
        char* at = out + kHigh * L::kHalfBytes + word * L::kWordBytes;
        const Vec a = mix<kHigh>(tap(0), tap(1));
        if constexpr (L::kTaps == 4) {
          const Words q = quads(a, mix<kHigh>(tap(2), tap(3)));
          store_vec(at, q.v[0]), store_vec(at + 32, q.v[1]);
        } else {
          const Vec negative = _mm256_cmpgt_epi8(zero, a);
          store_vec(at, _mm256_unpacklo_epi8(a, negative)), store_vec(at + 32, _mm256_unpackhi_epi8(a, negative));
        }
      };
      half.template operator()<false>();
      half.template operator()<true>();
    }
    if (!shape.finishes) continue;
    for (int at = 0; at < 32; at += 4) {  // four channels: their places in the order of the sums
      char* to = out + L::kEpilogueAt + (at % 16 / 4 * 8 + at / 16 * 4) * 4;
      const __m128i bias = e.bias_s32 != nullptr
                               ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(e.bias_s32 + c + at))
                               : _mm_setzero_si128();
      const __m128 scale = _mm_mul_ps(_mm_loadu_ps(e.scale + c + at), _mm_set1_ps(e.out_inv_scale));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_add_epi32(bias, _mm_set1_epi32(Finish::kOne)));
      _mm_storeu_ps(reinterpret_cast<float*>(to + Finish::kEpilogueStep), scale);
      _mm_storeu_ps(reinterpret_cast<float*>(to + 2 * Finish::kEpilogueStep), _mm_mul_ps(scale, _mm_set1_ps(-0x1p23f)));
    }
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
