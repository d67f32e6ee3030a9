// Mapped and atomic files, buffers and checked arithmetic.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/checksum.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "temporary_folder.h"

namespace lowp {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

TEST(MappedFile, Reads) {
  TemporaryFolder folder;
  std::string path = folder.write("file", "hello");
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file->data()), file->size()), "hello");
  MappedFile moved = std::move(*file);
  EXPECT_EQ(file->size(), 0u);
  EXPECT_EQ(moved.size(), 5u);
  auto empty = MappedFile::open(folder.write("empty", ""));
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->size(), 0u);
}

TEST(MappedFile, ErrorsNameThePath) {
  TemporaryFolder folder;
  auto missing = MappedFile::open(folder / "missing");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), Code::kNotFound);
  EXPECT_NE(missing.error().message().find(folder / "missing"), std::string::npos);
  auto directory = MappedFile::open(folder.path());
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code(), Code::kInvalidArgument);
  std::string fifo = folder / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  auto pipe = MappedFile::open(fifo);
  ASSERT_FALSE(pipe);
  EXPECT_EQ(pipe.error().code(), Code::kInvalidArgument);
}

TEST(AtomicFile, ReplacesAndKeepsPermissions) {
  TemporaryFolder folder;
  std::string path = folder.write("file", "old");
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  ASSERT_TRUE(write_file_atomically(path, bytes_of("new content")).is_ok());
  EXPECT_EQ(folder.read("file"), "new content");
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0640u);
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
  TemporaryFolder folder;
  std::string path = folder.write("file", "old");
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write(bytes_of("half")).is_ok());
  }
  EXPECT_EQ(folder.read("file"), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, FollowsSymbolicLinks) {
  TemporaryFolder folder;
  folder.write("target", "old");
  ASSERT_EQ(symlink("target", (folder / "link").c_str()), 0);
  ASSERT_TRUE(write_file_atomically(folder / "link", bytes_of("new")).is_ok());
  EXPECT_EQ(folder.read("target"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
}

TEST(AtomicFile, AlignPadsWithZeros) {
  TemporaryFolder folder;
  auto file = AtomicFile::create(folder / "file");
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->write(bytes_of("abc")).is_ok());
  ASSERT_TRUE(file->align(256).is_ok());
  EXPECT_EQ(file->size(), 256u);
  ASSERT_TRUE(file->commit().is_ok());
  EXPECT_EQ(folder.read("file"), "abc" + std::string(253, '\0'));
}

TEST(AtomicFile, RefusesWhatIsNoFile) {
  EXPECT_EQ(AtomicFile::create("/dev/null").error().code(), Code::kInvalidArgument);
  EXPECT_EQ(AtomicFile::create("/nonexistent/folder/file").error().code(), Code::kIo);
}

// A file size limit stands for a full disk: it needs no privileges. In a child, as limits are the process's.
TEST(AtomicFile, OldFileSurvivesAFullDisk) {
  TemporaryFolder folder;
  std::string path = folder.write("file", "old");
  pid_t pid = fork();
  if (pid == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{100'000, 100'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    std::vector<std::byte> big(1'000'000);
    Status status = write_file_atomically(path, big);
    _exit(status.code() == Code::kIo && status.message().find(path) != std::string::npos ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(folder.read("file"), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

// A real one, where this process may mount.
TEST(AtomicFile, OldFileSurvivesAFullTmpfs) {
  TemporaryFolder folder;
  if (mount("none", folder.path().c_str(), "tmpfs", 0, "size=256k") != 0)
    GTEST_SKIP() << "mounting is not permitted here";
  std::string path = folder.write("file", "old");
  std::vector<std::byte> big(1'000'000);
  Status status = write_file_atomically(path, big);
  EXPECT_EQ(status.code(), Code::kIo);
  EXPECT_NE(status.message().find("No space left"), std::string::npos) << status.message();
  EXPECT_EQ(folder.read("file"), "old");
  EXPECT_EQ(folder.entries(), 1u);
  umount(folder.path().c_str());
}

TEST(AlignedBuffer, AllocatesAligned) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{100'000}}) {
    auto buffer = AlignedBuffer::zeroed(size);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    for (std::byte b : buffer->bytes()) ASSERT_EQ(b, std::byte{0});
  }
  EXPECT_EQ(AlignedBuffer::allocate(std::numeric_limits<size_t>::max()).error().code(), Code::kResource);
  EXPECT_EQ(AlignedBuffer::allocate_array(size_t{1} << 62, 8).error().code(), Code::kResource);
}

TEST(Checked, Overflow) {
  EXPECT_EQ(checked_mul<size_t>(3, 4), 12u);
  EXPECT_FALSE(checked_mul<size_t>(size_t{1} << 40, size_t{1} << 40));
  EXPECT_FALSE(checked_add<int64_t>(std::numeric_limits<int64_t>::max(), 1));
  EXPECT_EQ(checked_align<uint64_t>(65, 64), 128u);
  EXPECT_FALSE(checked_align<uint64_t>(std::numeric_limits<uint64_t>::max(), 64));
  EXPECT_EQ(checked_product(std::vector<int64_t>{2, 3, 4}), 24);
  EXPECT_EQ(checked_product(std::vector<int64_t>{}), 1);
  EXPECT_FALSE(checked_product(std::vector<int64_t>{2, -3}));
  EXPECT_FALSE(checked_product(std::vector<int64_t>{int64_t{1} << 40, int64_t{1} << 40}));
  EXPECT_EQ(checked_product(std::vector<int64_t>{int64_t{1} << 40, int64_t{1} << 40, 0}), 0);
}

TEST(Checksum, IsXxh3) {
  EXPECT_EQ(checksum("", 0), 0x2d06800538d394c2u);  // the value of XXH3's specification for no input
  EXPECT_NE(checksum("a", 1), checksum("b", 1));
}

TEST(Log, GoesToTheCallback) {
  std::vector<std::string> lines;
  auto append = [](LogLevel, std::string_view message, void* user) {
    static_cast<std::vector<std::string>*>(user)->emplace_back(message);
  };
  log(LogLevel::kError, "before {}", 1);
  set_log_callback(append, &lines, LogLevel::kWarning);
  log(LogLevel::kInfo, "too quiet");
  log(LogLevel::kWarning, "value {}", 7);
  set_log_callback(nullptr, nullptr);
  log(LogLevel::kError, "after");
  EXPECT_EQ(lines, std::vector<std::string>{"value 7"});
}

}  // namespace
}  // namespace lowp
