#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace lowp {
namespace {

// A symbolic link stays one: the file it names is replaced.
std::string resolve_link(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISLNK(info.st_mode)) return path;
  char* target = ::realpath(path.c_str(), nullptr);
  if (target == nullptr) return path;
  std::string resolved = target;
  std::free(target);
  return resolved;
}

std::string folder_of(const std::string& path) {
  size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The permissions the file had, or those that open() would give a new one.
mode_t mode_for(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) return info.st_mode & 0777;
  // umask can only be read by setting it, which would race with other threads; Linux also tells it in /proc.
  mode_t mask = 022;
  if (std::FILE* status = std::fopen("/proc/self/status", "re")) {
    char line[256];
    while (std::fgets(line, sizeof(line), status) != nullptr) {
      if (std::strncmp(line, "Umask:", 6) == 0) mask = static_cast<mode_t>(std::strtoul(line + 6, nullptr, 8));
    }
    std::fclose(status);
  }
  return 0666 & ~mask;
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  AtomicFile file;
  file.path_ = resolve_link(path);
  struct stat info {};
  if (::stat(file.path_.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return fail(Code::kInvalidArgument, "cannot write '{}': it is not a regular file", path);
  }
  std::string name = file.path_ + ".tmp-XXXXXX";
  file.fd_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (file.fd_ < 0) return fail(Code::kIo, "cannot create a file in '{}': {}", folder_of(path), std::strerror(errno));
  file.temporary_ = name;
  ::fchmod(file.fd_, mode_for(file.path_));
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::exchange(other.fd_, -1)),
      size_(other.size_),
      broken_(other.broken_) {}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status AtomicFile::failed(const char* what, int number) {
  broken_ = true;
  return error(Code::kIo, "cannot {} '{}' after {} bytes: {}", what, path_, size_, std::strerror(number));
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  if (broken_ || fd_ < 0) return error(Code::kIo, "cannot write '{}': an earlier write failed", path_);
  while (!bytes.empty()) {
    // write(2) takes at most about 2 GiB at once.
    ssize_t written = ::write(fd_, bytes.data(), std::min<size_t>(bytes.size(), size_t{1} << 30));
    if (written < 0) {
      if (errno == EINTR) continue;
      return failed("write", errno);
    }
    size_ += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status AtomicFile::align(size_t alignment) {
  static constexpr std::byte kZeros[64] = {};
  size_t missing = (alignment - size_ % alignment) % alignment;
  while (missing > 0) {
    size_t now = std::min(missing, sizeof(kZeros));
    LOWP_TRY(write(kZeros, now));
    missing -= now;
  }
  return {};
}

Status AtomicFile::commit() {
  if (broken_ || fd_ < 0) return error(Code::kIo, "cannot write '{}': an earlier write failed", path_);
  if (::fsync(fd_) != 0) return failed("sync", errno);
  // Some file systems report a full disk or quota only here.
  if (::close(std::exchange(fd_, -1)) != 0) return failed("close", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return failed("replace", errno);
  temporary_.clear();
  // The rename itself lasts once the folder is on disk; where folders cannot be synced, the content still can.
  int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
  return {};
}

Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  LOWP_ASSIGN(AtomicFile file, AtomicFile::create(path));
  LOWP_TRY(file.write(bytes));
  return file.commit();
}

}  // namespace lowp
