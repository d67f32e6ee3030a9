// The CPU quota of a container, apart from available_threads() so that tests can give it files of their own.
#pragma once

#include <optional>
#include <string>

namespace lowp {

// CPUs that the cgroups listed in `proc_cgroup` (/proc/self/cgroup) allow, v1 and v2, mounted at `mount`; nullopt where
// nothing limits them. Inside a container the listed path may not exist under the mount; then the mount's root counts.
std::optional<double> cgroup_cpus(const std::string& proc_cgroup, const std::string& mount);

}  // namespace lowp
