// Owning bytes at a 64-byte boundary: a cache line, and the widest vector.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "base/checked.h"
#include "base/status.h"

namespace lowp {

class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;

  AlignedBuffer() : data_(nullptr, Free{kAlignment}) {}
  // Not initialised. kResource where the memory is not to be had.
  // The size is rounded up to whole lines, so that a vector load at the end stays inside the allocation; large buffers
  // start at and are rounded up to huge pages.
  static Result<AlignedBuffer> allocate(size_t size);
  static Result<AlignedBuffer> zeroed(size_t size) {
    auto buffer = allocate(size);
    if (buffer && size > 0) std::memset(buffer->data(), 0, size);
    return buffer;
  }
  // allocate() in elements, the multiplication checked.
  static Result<AlignedBuffer> allocate_array(size_t count, size_t element_size) {
    auto size = checked_mul(count, element_size);
    if (!size) return fail(Code::kResource, "cannot allocate {} elements of {} bytes: too many", count, element_size);
    return allocate(*size);
  }

  AlignedBuffer(AlignedBuffer&& other) noexcept : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<std::byte> bytes() { return {data(), size_}; }
  std::span<const std::byte> bytes() const { return {data(), size_}; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data());
  }

 private:
  struct Free {
    size_t alignment;
    void operator()(std::byte* data) const { ::operator delete (data, std::align_val_t{alignment}); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t size_ = 0;
};

}  // namespace lowp
