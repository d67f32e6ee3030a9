// What the CPU can do, and which target runs.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace lowp {

enum class Target : int {
#define LOWP_TARGET_ROW(name, vnni, bf16, amx) k_##name,
#include "base/targets.inc"
#undef LOWP_TARGET_ROW
  kCount
};
inline constexpr int kTargetCount = static_cast<int>(Target::kCount);

std::string_view target_name(Target target);
std::optional<Target> target_from_name(std::string_view name);
bool target_has_vnni(Target target);
bool target_has_bf16(Target target);
bool target_has_amx(Target target);  // INT8 and BF16 products in tiles

// Whether this CPU (and operating system) can run the target; scalar, emu512 and emu_amx run anywhere.
bool target_supported(Target target);
// Every target that runs here, in the order of targets.inc.
std::span<const Target> supported_targets();

// The target that kernels use: LOWP_ISA where it is set, else the last supported hardware target (never an emulated
// one). An unknown or unsupported LOWP_ISA is an error that lists what runs here.
Result<Target> selected_target();
// As selected_target(), throwing InternalError; for code behind a border that has already checked.
Target active_target();
// For tests and benchmarks: overrides LOWP_ISA in this process. The target must be supported.
void set_active_target(Target target);

// "AMD EPYC ..." from /proc/cpuinfo or cpuid; "unknown" where neither tells.
std::string cpu_name();

}  // namespace lowp
