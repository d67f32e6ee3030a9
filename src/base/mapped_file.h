// A file mapped read-only: processes that open the same file share its pages.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/status.h"

namespace lowp {

class MappedFile {
 public:
  MappedFile() = default;
  // kNotFound where there is no such file, kInvalidArgument where it is not a regular file, else kIo. An empty file
  // maps to no bytes. Whoever truncates the file while it is mapped makes reads beyond its end fault; lowp's own
  // writers replace files and never do.
  static Result<MappedFile> open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  void unmap();

  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

}  // namespace lowp
