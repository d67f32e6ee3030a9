// Types of values: a dtype and a shape whose extents are numbers or symbols ("N", "S").
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"

namespace lowp::ir {

// One extent: a number >= 0, a named symbol, or unknown (no name). Two dims with the same symbol are equal at run time.
class Dim {
 public:
  Dim() = default;
  Dim(int64_t value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  static Dim symbol(std::string name) {
    Dim d;
    d.symbol_ = std::move(name);
    return d;
  }
  bool known() const { return value_ >= 0; }
  int64_t value() const { return value_; }  // -1 where not known
  const std::string& symbol() const { return symbol_; }
  bool operator==(const Dim&) const = default;
  std::string to_string() const { return known() ? std::to_string(value_) : symbol_.empty() ? "?" : symbol_; }

 private:
  int64_t value_ = -1;
  std::string symbol_;
};

using Dims = std::vector<Dim>;

// Whether two extents, or those of two shapes, can be the same once all are numbers. Symbols tell nothing here.
inline bool may_be_equal(const Dim& a, const Dim& b) { return !a.known() || !b.known() || a.value() == b.value(); }
inline bool may_be_equal(std::span<const Dim> a, std::span<const Dim> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Dim& x, const Dim& y) { return may_be_equal(x, y); });
}
using Extents = std::vector<int64_t>;  // concrete shape

struct TensorType {
  DType dtype = DType::kInvalid;
  std::optional<Dims> dims;  // nullopt: not even the rank is known

  TensorType() = default;
  TensorType(DType t, Dims d) : dtype(t), dims(std::move(d)) {}
  TensorType(DType t, const Extents& e) : dtype(t), dims(Dims(e.begin(), e.end())) {}
  bool operator==(const TensorType&) const = default;

  bool has_rank() const { return dims.has_value(); }
  int rank() const { return dims ? static_cast<int>(dims->size()) : -1; }
  // Whether every extent is a number.
  bool concrete() const;
  // The extents of a concrete type.
  Extents extents() const;
  std::string to_string() const;  // "f32[N,3,224,224]"
};

std::string extents_to_string(std::span<const int64_t> extents);  // "1x3x224x224"; "scalar" for rank 0
// Product of extents; LOWP_CHECKs against overflow.
int64_t element_count(std::span<const int64_t> extents);
// As element_count, or nullopt where an extent is negative or the product does not fit.
std::optional<int64_t> checked_element_count(std::span<const int64_t> extents);

// Numpy-style multidirectional broadcast. An unknown extent against 1 stays unknown; against n > 1 gives n.
Result<Dims> broadcast_dims(const Dims& a, const Dims& b);
Result<Extents> broadcast_extents(const Extents& a, const Extents& b);

// Row-major strides in elements.
Extents row_major_strides(std::span<const int64_t> extents);

// How a value's logical shape (ONNX's: N, C, spatial...) lies in memory.
enum class Layout : uint8_t {
  kPlain = 0,         // row-major in logical order
  kChannelsLast = 1,  // N, spatial..., C; rank >= 3
};
std::string_view layout_name(Layout layout);
// Logical extents in the order in which they lie in memory: N, C, H, W becomes N, H, W, C. Tensors of fewer than three
// dimensions have one layout.
Extents physical_extents(const Extents& logical, Layout layout);

}  // namespace lowp::ir
