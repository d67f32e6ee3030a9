// A tensor: dtype, extents and a reference-counted buffer, row-major without gaps.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

#include "ir/type.h"

namespace lowp::ir {

// Owns bytes, or keeps somebody else's (a mapped file, a numpy array) alive. The version tells packed copies of a
// weight that they are stale.
struct Storage {
  std::byte* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<void> owner;
  std::atomic<uint64_t> version{0};
};

class Tensor {
 public:
  Tensor() = default;

  // Zero-filled. InternalError for negative extents or a size that does not fit.
  static Tensor zeros(DType dtype, Extents extents);
  // As zeros(), with the sizes checked: kResource where they do not fit or memory is exhausted.
  static Result<Tensor> allocate(DType dtype, Extents extents);
  // Over bytes that `owner` keeps alive (null: the caller does). data may be null where the tensor has no bytes.
  static Tensor view(DType dtype, Extents extents, void* data, std::shared_ptr<void> owner = nullptr);
  template <typename T>
  static Tensor from(Extents extents, std::span<const T> values);
  template <typename T>
  static Tensor from(Extents extents, std::initializer_list<T> values) {
    return from<T>(std::move(extents), std::span<const T>(values.begin(), values.size()));
  }
  template <typename T>
  static Tensor scalar(T value) {
    return from<T>({}, {value});
  }

  bool valid() const { return dtype_ != DType::kInvalid; }
  DType dtype() const { return dtype_; }
  const Extents& extents() const { return extents_; }
  int rank() const { return static_cast<int>(extents_.size()); }
  int64_t extent(int i) const { return extents_[static_cast<size_t>(i)]; }
  int64_t size() const { return size_; }  // elements
  size_t bytes() const { return dtype_bytes(dtype_, static_cast<size_t>(size_)); }
  TensorType type() const { return TensorType(dtype_, extents_); }

  const void* raw() const { return storage_ ? storage_->data : nullptr; }
  void* mutable_raw() { return storage_ ? storage_->data : nullptr; }
  template <typename T>
  const T* data() const {
    LOWP_CHECK(dtype_ == dtype_of<T>());
    return static_cast<const T*>(raw());
  }
  template <typename T>
  T* mutable_data() {
    LOWP_CHECK(dtype_ == dtype_of<T>());
    return static_cast<T*>(mutable_raw());
  }
  template <typename T>
  std::span<const T> values() const {
    return {data<T>(), static_cast<size_t>(size_)};
  }
  // Integer content of any integer or bool dtype as int64 (shapes, axes, indices).
  Extents to_int64s() const;

  // The same bytes under another shape of equal size.
  Tensor reshaped(Extents extents) const;
  Tensor clone() const;
  // Points a view() at other bytes; the executor moves operands this way without allocating.
  void rebind(void* data) { storage_->data = static_cast<std::byte*>(data); }

  const std::shared_ptr<Storage>& storage() const { return storage_; }
  // Same dtype, extents and bits.
  bool same_bits(const Tensor& other) const;
  bool operator==(const Tensor& other) const { return same_bits(other); }

 private:
  DType dtype_ = DType::kInvalid;
  Extents extents_;
  int64_t size_ = 0;
  std::shared_ptr<Storage> storage_;
};

template <typename T>
Tensor Tensor::from(Extents extents, std::span<const T> values) {
  Tensor t = zeros(dtype_of<T>(), std::move(extents));
  LOWP_CHECK(t.size() == static_cast<int64_t>(values.size()));
  T* out = t.mutable_data<T>();
  for (size_t i = 0; i < values.size(); ++i) out[i] = values[i];
  return t;
}

}  // namespace lowp::ir
