// Threads this process may use, from the affinity mask and the cgroup's CPU quota.
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include "base/cgroup.h"
#include "base/thread_pool.h"

namespace lowp {
namespace {

std::optional<std::string> read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

// CPUs of one cgroup, v2 ("max 100000" or "150000 100000") or v1 (two files); nullopt where there is no limit.
std::optional<double> quota_v2(const std::string& folder) {
  auto line = read_line(folder + "/cpu.max");
  if (!line) return std::nullopt;
  std::istringstream words(*line);
  std::string quota;
  double period = 0;
  if (!(words >> quota >> period) || quota == "max" || period <= 0) return std::nullopt;
  return std::strtod(quota.c_str(), nullptr) / period;
}

std::optional<double> quota_v1(const std::string& folder) {
  auto quota = read_line(folder + "/cpu.cfs_quota_us");
  auto period = read_line(folder + "/cpu.cfs_period_us");
  if (!quota || !period) return std::nullopt;
  double q = std::strtod(quota->c_str(), nullptr);
  double p = std::strtod(period->c_str(), nullptr);
  if (q <= 0 || p <= 0) return std::nullopt;
  return q / p;
}

std::optional<double> smaller(std::optional<double> a, std::optional<double> b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

// A limit of any ancestor binds too, so the walk goes from the process's group up to the mount's root.
template <typename Quota>
std::optional<double> smallest_up(const std::string& mount, std::string group, Quota quota) {
  std::optional<double> limit;
  while (true) {
    limit = smaller(limit, quota(mount + group));
    size_t slash = group.find_last_of('/');
    if (group.empty() || slash == std::string::npos) return limit;
    group.resize(slash);
  }
}

int affinity_count() {
  // The kernel refuses masks smaller than its own, so the size grows until it fits.
  for (int cpus = 1024; cpus <= 1 << 18; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    size_t size = CPU_ALLOC_SIZE(cpus);
    bool ok = ::sched_getaffinity(0, size, set) == 0;
    int count = ok ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (ok) return std::max(count, 1);
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

std::optional<double> cgroup_cpus(const std::string& proc_cgroup, const std::string& mount) {
  std::optional<double> limit;
  std::ifstream file(proc_cgroup);
  std::string line;
  // "0::/path" is v2; "4:cpu,cpuacct:/path" is v1.
  while (std::getline(file, line)) {
    size_t first = line.find(':');
    size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers = line.substr(first + 1, second - first - 1);
    std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      limit = smaller(limit, smallest_up(mount, group, quota_v2));
      continue;
    }
    if (std::string(",").append(controllers).append(",").find(",cpu,") == std::string::npos) continue;
    limit = smaller(limit, smallest_up(mount + "/cpu", group, quota_v1));
    limit = smaller(limit, smallest_up((mount + "/").append(controllers), group, quota_v1));
  }
  return limit;
}

int available_threads() {
  int threads = affinity_count();
  // Part of a CPU still runs a thread: 1.5 CPUs are 2 threads, each a quarter of the time idle, which beats 1.
  if (auto cpus = cgroup_cpus("/proc/self/cgroup", "/sys/fs/cgroup")) {
    threads = std::min(threads, static_cast<int>(std::ceil(std::min(*cpus, 1e6))));
  }
  return std::max(threads, 1);
}

}  // namespace lowp
