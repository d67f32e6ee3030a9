// Building blocks of references: dispatch on dtype, and plain iteration. Written to be obviously right, not fast.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/op_def.h"

namespace lowp::ops {

// Arithmetic on 16-bit floats is done in float.
template <typename T>
struct ComputeType {
  using type = T;
};
template <>
struct ComputeType<Float16> {
  using type = float;
};
template <>
struct ComputeType<BFloat16> {
  using type = float;
};
template <typename T>
using compute_t = typename ComputeType<T>::type;

template <typename T>
struct Tag {
  using type = T;
};

// Each calls fn(Tag<T>{}) with the C++ type of the dtype, which returns a Status.
template <typename F>
Status dispatch_float(DType dtype, F&& fn) {
  switch (dtype) {
    case DType::kF32: return fn(Tag<float>{});
    case DType::kF64: return fn(Tag<double>{});
    case DType::kF16: return fn(Tag<Float16>{});
    case DType::kBF16: return fn(Tag<BFloat16>{});
    default: return error(Code::kUnsupported, "dtype {} is not a floating-point type this op takes", dtype_name(dtype));
  }
}
template <typename F>
Status dispatch_integer(DType dtype, F&& fn) {
  switch (dtype) {
    case DType::kI8: return fn(Tag<int8_t>{});
    case DType::kU8: return fn(Tag<uint8_t>{});
    case DType::kI16: return fn(Tag<int16_t>{});
    case DType::kU16: return fn(Tag<uint16_t>{});
    case DType::kI32: return fn(Tag<int32_t>{});
    case DType::kU32: return fn(Tag<uint32_t>{});
    case DType::kI64: return fn(Tag<int64_t>{});
    case DType::kU64: return fn(Tag<uint64_t>{});
    default: return error(Code::kUnsupported, "dtype {} is not an integer type this op takes", dtype_name(dtype));
  }
}
template <typename F>
Status dispatch_numeric(DType dtype, F&& fn) {
  return is_floating(dtype) ? dispatch_float(dtype, fn) : dispatch_integer(dtype, fn);
}
template <typename F>
Status dispatch_any(DType dtype, F&& fn) {
  return dtype == DType::kBool ? fn(Tag<bool>{}) : dispatch_numeric(dtype, fn);
}
// By element size only, for ops that move elements: fn(Tag<uintN_t>{}).
template <typename F>
Status dispatch_size(DType dtype, F&& fn) {
  switch (dtype_bits(dtype)) {
    case 8: return fn(Tag<uint8_t>{});
    case 16: return fn(Tag<uint16_t>{});
    case 32: return fn(Tag<uint32_t>{});
    case 64: return fn(Tag<uint64_t>{});
    default:
      return error(Code::kUnsupported, "dtype {} is a storage type; this op moves whole bytes only", dtype_name(dtype));
  }
}

// Negative axes count from the back. kInvalidModel where out of range.
inline Result<int64_t> normalize_axis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank)
    return fail(Code::kInvalidModel, "axis {} is outside a tensor of rank {}", axis, rank);
  return axis < 0 ? axis + rank : axis;
}

// Calls fn(linear index of the output, index vector) for each element in row-major order.
template <typename F>
void for_each_index(const Extents& extents, F&& fn) {
  Extents index(extents.size(), 0);
  const int64_t n = ir::element_count(extents);
  for (int64_t i = 0; i < n; ++i) {
    fn(i, index);
    for (size_t d = extents.size(); d-- > 0;) {
      if (++index[d] < extents[d]) break;
      index[d] = 0;
    }
  }
}

// Strides with which a tensor of `extents` is read when broadcast to `target` (0 along broadcast dimensions).
inline Extents broadcast_strides(const Extents& extents, const Extents& target) {
  Extents own = ir::row_major_strides(extents);
  Extents strides(target.size(), 0);
  for (size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] != 1) strides[target.size() - extents.size() + i] = own[i];
  }
  return strides;
}
inline int64_t dot(const Extents& a, const Extents& b) {
  int64_t s = 0;
  for (size_t i = 0; i < a.size(); ++i) s += a[i] * b[i];
  return s;
}

// Common inferences.
inline Status infer_same_as_input(InferContext& ctx) {
  ctx.set(0, ctx.type(0));
  return {};
}
inline Status want_dtype(const InferContext& ctx, size_t i, DType dtype) {
  if (ctx.has(i) && ctx.dtype(i) != dtype) {
    return error(Code::kTypeMismatch, "input {} has dtype {}, {} is wanted", i, dtype_name(ctx.dtype(i)),
                 dtype_name(dtype));
  }
  return {};
}
inline Status want_scalar(const InferContext& ctx, size_t i, DType dtype) {
  if (!ctx.has(i)) return {};
  if (ctx.dtype(i) == dtype && (!ctx.has_rank(i) || ctx.type(i).rank() == 0)) return {};
  return error(Code::kTypeMismatch, "operand {} is {}, a scalar {} is wanted", i, ctx.type(i).to_string(),
               dtype_name(dtype));
}
inline Status want_same_dtype(const InferContext& ctx, size_t a, size_t b) {
  if (ctx.has(a) && ctx.has(b) && ctx.dtype(a) != ctx.dtype(b)) {
    return error(Code::kTypeMismatch, "inputs {} and {} have dtypes {} and {}, which must be the same", a, b,
                 dtype_name(ctx.dtype(a)), dtype_name(ctx.dtype(b)));
  }
  return {};
}
inline Status want_float(const InferContext& ctx, size_t i) {
  if (!is_floating(ctx.dtype(i)))
    return error(Code::kTypeMismatch, "input {} has dtype {}, a floating-point type is wanted", i,
                 dtype_name(ctx.dtype(i)));
  return {};
}

// A sample's operand of a given content.
inline SampleInput given(Tensor t) {
  SampleInput s{t.dtype(), t.extents()};
  s.value = std::move(t);
  s.differentiable = false;
  return s;
}

// A sample's constant i64 operand: a shape, axes, repeats.
inline SampleInput constant_ints(Extents values) {
  SampleInput s{DType::kI64, {static_cast<int64_t>(values.size())}};
  s.value = Tensor::from<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values));
  s.constant = true;
  s.differentiable = false;
  return s;
}

// Float content of a known tensor of any numeric dtype.
std::vector<double> to_doubles(const Tensor& t);

}  // namespace lowp::ops
