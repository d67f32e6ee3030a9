// A buffer whose end lies at an unmapped page: a read or write behind the last element ends the test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace lowp::test {

template <typename T>
class GuardedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit GuardedBuffer(int64_t count) : size_(static_cast<size_t>(count)) {
    auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_t bytes = size_ * sizeof(T), pages = (bytes + page - 1) / page * page;
    mapped_ = pages + page;
    base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw std::runtime_error("mmap failed");
    auto* end = static_cast<uint8_t*>(base_) + pages;
    if (mprotect(end, page, PROT_NONE) != 0) throw std::runtime_error("mprotect failed");
    data_ = reinterpret_cast<T*>(end - bytes);
  }
  GuardedBuffer(std::initializer_list<T> values) : GuardedBuffer(static_cast<int64_t>(values.size())) {
    size_t i = 0;
    for (const T& v : values) data_[i++] = v;
  }
  GuardedBuffer(const GuardedBuffer& other) : GuardedBuffer(static_cast<int64_t>(other.size_)) {
    if (size_ > 0) memcpy(data_, other.data_, size_ * sizeof(T));
  }
  GuardedBuffer(GuardedBuffer&& other) noexcept { swap(other); }
  GuardedBuffer& operator=(GuardedBuffer other) noexcept {
    swap(other);
    return *this;
  }
  ~GuardedBuffer() {
    if (base_) munmap(base_, mapped_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  void swap(GuardedBuffer& other) {
    std::swap(base_, other.base_);
    std::swap(mapped_, other.mapped_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  void* base_ = nullptr;
  size_t mapped_ = 0;
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace lowp::test
