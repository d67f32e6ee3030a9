// Writing a file so that its path holds either the old content or all of the new, also after a crash or on a full disk:
// the bytes go to a temporary file in the same folder, which is synced and then renamed over the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace lowp {

class AtomicFile {
 public:
  // kIo, naming the path, where the folder cannot be written.
  static Result<AtomicFile> create(const std::string& path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) = delete;
  // Without commit() the temporary file is removed and the path is as it was.
  ~AtomicFile();

  // Appends. After an error every later call returns an error too.
  Status write(std::span<const std::byte> bytes);
  Status write(const void* data, size_t size) { return write({static_cast<const std::byte*>(data), size}); }
  // Appends zeros up to the next multiple of `alignment`.
  Status align(size_t alignment);
  // Bytes written so far.
  uint64_t size() const { return size_; }
  Status commit();

 private:
  AtomicFile() = default;
  Status failed(const char* what, int number);

  std::string path_;
  std::string temporary_;
  int fd_ = -1;
  uint64_t size_ = 0;
  bool broken_ = false;
};

Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

}  // namespace lowp
