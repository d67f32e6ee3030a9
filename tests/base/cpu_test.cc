#include "base/cpu.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/thread_pool.h"
#include "temporary_folder.h"

namespace lowp {
namespace {

TEST(Cpu, Names) {
  for (int i = 0; i < kTargetCount; ++i) {
    auto target = static_cast<Target>(i);
    EXPECT_EQ(target_from_name(target_name(target)), target);
  }
  EXPECT_FALSE(target_from_name("sse2"));
  EXPECT_FALSE(cpu_name().empty());
  EXPECT_TRUE(target_supported(Target::k_scalar));
  EXPECT_TRUE(target_supported(Target::k_emu512));
  EXPECT_TRUE(target_supported(Target::k_emu_amx));
}

#if defined(__x86_64__)
TEST(Cpu, AgreesWithTheCompilersRuntime) {
  EXPECT_EQ(target_supported(Target::k_avx2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(target_supported(Target::k_avx512), __builtin_cpu_supports("avx512bw") &&
                                                    __builtin_cpu_supports("avx512dq") &&
                                                    __builtin_cpu_supports("avx512vl"));
  EXPECT_EQ(target_supported(Target::k_avx512_vnni), static_cast<bool>(__builtin_cpu_supports("avx512vnni")));
  EXPECT_EQ(target_supported(Target::k_avx512_bf16), static_cast<bool>(__builtin_cpu_supports("avx512bf16")));
}
#endif

// selected_target() reads the environment once, so each case runs in a child.
int in_child(const char* isa, int (*body)()) {
  pid_t pid = fork();
  if (pid == 0) {
    setenv("LOWP_ISA", isa, 1);
    _exit(body());
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Cpu, IsaOverride) {
  EXPECT_EQ(in_child("scalar", [] { return selected_target() == Target::k_scalar ? 0 : 1; }), 0);
  EXPECT_EQ(in_child("emu_amx", [] { return selected_target() == Target::k_emu_amx ? 0 : 1; }), 0);
  EXPECT_EQ(in_child("emu512", [] { return selected_target() == Target::k_emu512 ? 0 : 1; }), 0);
  EXPECT_EQ(in_child("nonsense",
                     [] {
                       auto target = selected_target();
                       bool good = !target && target.error().code() == Code::kInvalidArgument &&
                                   target.error().message().find("scalar, emu512") != std::string::npos;
                       return good ? 0 : 1;
                     }),
            0);
  EXPECT_EQ(
      in_child(
          "",
          [] { return selected_target() == supported_targets().back() || supported_targets().size() == 3 ? 0 : 1; }),
      0);
}

TEST(Cpu, AvailableThreads) {
  EXPECT_GE(available_threads(), 1);
  EXPECT_LE(available_threads(), sysconf(_SC_NPROCESSORS_CONF));
}

TEST(Cgroup, Version2) {
  TemporaryFolder folder;
  folder.write("proc", "0::/a/b\n");
  folder.write("fs/a/b/cpu.max", "max 100000\n");
  folder.write("fs/a/cpu.max", "150000 100000\n");
  EXPECT_EQ(cgroup_cpus(folder / "proc", folder / "fs"), 1.5);
  folder.write("fs/a/b/cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_cpus(folder / "proc", folder / "fs"), 0.5);
  folder.write("proc", "0::/elsewhere\n");
  EXPECT_EQ(cgroup_cpus(folder / "proc", folder / "fs"), std::nullopt);
  folder.write("fs/cpu.max", "300000 100000\n");
  EXPECT_EQ(cgroup_cpus(folder / "proc", folder / "fs"), 3.0);
}

TEST(Cgroup, Version1) {
  TemporaryFolder folder;
  folder.write("proc", "9:memory:/x\n4:cpu,cpuacct:/docker/1\n0::/\n");
  folder.write("fs/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "200000\n");
  folder.write("fs/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cgroup_cpus(folder / "proc", folder / "fs"), 2.0);
  folder.write("fs/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cgroup_cpus(folder / "proc", folder / "fs"), std::nullopt);
  folder.write("fs/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "garbage\n");
  EXPECT_EQ(cgroup_cpus(folder / "proc", folder / "fs"), std::nullopt);
  EXPECT_EQ(cgroup_cpus(folder / "missing", folder / "fs"), std::nullopt);
}

}  // namespace
}  // namespace lowp
