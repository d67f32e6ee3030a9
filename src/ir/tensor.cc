#include "ir/tensor.h"

#include <cstdlib>
#include <cstring>

namespace lowp::ir {
namespace {

// 64: a cache line and the widest vector.
constexpr size_t kAlignment = 64;

std::shared_ptr<Storage> allocate_storage(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  auto storage = std::make_shared<Storage>();
  storage->bytes = bytes;
  if (rounded > 0) {
    void* p = std::aligned_alloc(kAlignment, rounded);
    if (p == nullptr) return nullptr;
    std::memset(p, 0, rounded);
    storage->owner = std::shared_ptr<void>(p, std::free);
    storage->data = static_cast<std::byte*>(p);
  }
  return storage;
}

}  // namespace

Result<Tensor> Tensor::allocate(DType dtype, Extents extents) {
  auto n = checked_element_count(extents);
  // 2^40 bytes: more than any machine lowp runs on, and far from overflowing later sums.
  if (!n || *n > (int64_t{1} << 40) / 8)
    return fail(Code::kResource, "a tensor of {} {} elements is too large", extents_to_string(extents),
                dtype_name(dtype));
  auto storage = allocate_storage(dtype_bytes(dtype, static_cast<size_t>(*n)));
  if (!storage)
    return fail(Code::kResource, "out of memory for a tensor of {} {} elements", extents_to_string(extents),
                dtype_name(dtype));
  Tensor t;
  t.dtype_ = dtype;
  t.extents_ = std::move(extents);
  t.size_ = *n;
  t.storage_ = std::move(storage);
  return t;
}

Tensor Tensor::zeros(DType dtype, Extents extents) {
  auto t = allocate(dtype, std::move(extents));
  if (!t) throw InternalError(t.error().to_string());
  return std::move(*t);
}

Tensor Tensor::view(DType dtype, Extents extents, void* data, std::shared_ptr<void> owner) {
  Tensor t;
  t.dtype_ = dtype;
  t.size_ = element_count(extents);
  t.extents_ = std::move(extents);
  t.storage_ = std::make_shared<Storage>();
  t.storage_->data = static_cast<std::byte*>(data);
  t.storage_->bytes = t.bytes();
  t.storage_->owner = std::move(owner);
  return t;
}

Extents Tensor::to_int64s() const {
  Extents out(static_cast<size_t>(size_));
  auto copy = [&](auto tag) {
    using T = decltype(tag);
    const T* p = data<T>();
    for (int64_t i = 0; i < size_; ++i) out[static_cast<size_t>(i)] = static_cast<int64_t>(p[i]);
  };
  switch (dtype_) {
    case DType::kI64: copy(int64_t{}); break;
    case DType::kI32: copy(int32_t{}); break;
    case DType::kI16: copy(int16_t{}); break;
    case DType::kI8: copy(int8_t{}); break;
    case DType::kU64: copy(uint64_t{}); break;
    case DType::kU32: copy(uint32_t{}); break;
    case DType::kU16: copy(uint16_t{}); break;
    case DType::kU8: copy(uint8_t{}); break;
    case DType::kBool: copy(bool{}); break;
    default: LOWP_CHECK(false && "to_int64s of a dtype that is not an integer");
  }
  return out;
}

Tensor Tensor::reshaped(Extents extents) const {
  LOWP_CHECK(element_count(extents) == size_);
  Tensor t = *this;
  t.extents_ = std::move(extents);
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = zeros(dtype_, extents_);
  if (bytes() > 0) std::memcpy(t.mutable_raw(), raw(), bytes());
  return t;
}

bool Tensor::same_bits(const Tensor& other) const {
  if (dtype_ != other.dtype_ || extents_ != other.extents_) return false;
  return bytes() == 0 || raw() == other.raw() || std::memcmp(raw(), other.raw(), bytes()) == 0;
}

}  // namespace lowp::ir
