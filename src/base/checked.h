// Arithmetic on sizes that come from files and users: nullopt instead of wrapping round.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace lowp {

template <typename T>
std::optional<T> checked_mul(T a, T b) {
  T result;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

template <typename T>
std::optional<T> checked_add(T a, T b) {
  T result;
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// Product of extents: the number of elements of a shape. nullopt for a negative extent and on overflow, unless another
// extent is zero: then there are no elements, whatever the rest.
inline std::optional<int64_t> checked_product(std::span<const int64_t> extents) {
  bool zero = false;
  for (int64_t extent : extents) {
    if (extent < 0) return std::nullopt;
    zero = zero || extent == 0;
  }
  if (zero) return 0;
  int64_t product = 1;
  for (int64_t extent : extents) {
    if (__builtin_mul_overflow(product, extent, &product)) return std::nullopt;
  }
  return product;
}

// The smallest multiple of `alignment` (a power of two) that is at least `value`.
template <typename T>
std::optional<T> checked_align(T value, T alignment) {
  auto sum = checked_add<T>(value, alignment - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(alignment - 1);
}

}  // namespace lowp
