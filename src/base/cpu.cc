#include "base/cpu.h"

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lowp {
namespace {

struct TargetRow {
  std::string_view name;
  bool vnni;
  bool bf16;
  bool amx;
};

constexpr std::array<TargetRow, kTargetCount> kRows = {{
#define LOWP_TARGET_ROW(name, vnni, bf16, amx) {#name, vnni, bf16, amx},
#include "base/targets.inc"
#undef LOWP_TARGET_ROW
}};

struct Features {
  bool avx2 = false;  // with FMA, F16C, BMI1 and BMI2
  bool avx_vnni = false;
  bool avx512 = false;  // F, BW, VL, DQ
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool avx512_amx = false;  // tiles of s8 and bf16, whose registers this process may use
};

#if defined(__x86_64__)

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool bit(unsigned word, int index) { return ((word >> index) & 1u) != 0; }

// XCR0: which register state the operating system saves. Inline assembly, as _xgetbv wants -mxsave.
uint64_t saved_state() {
  unsigned low = 0;
  unsigned high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux gives the 8 KB of tile registers to processes that ask (Documentation/arch/x86/xstate.rst). It refuses where a
// thread's alternate signal stack is too small for them.
bool may_use_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// Bit numbers: Intel SDM volume 2A, CPUID.
Features detect() {
  Features f;
  Registers basic = cpuid(1);
  if (!bit(basic.ecx, 27)) return f;  // OSXSAVE: without it xgetbv faults
  uint64_t state = saved_state();
  bool ymm_saved = (state & 0x6) == 0x6;    // SSE and upper halves of YMM
  bool zmm_saved = (state & 0xe6) == 0xe6;  // and opmask, upper ZMM halves, ZMM16-31
  Registers seven = cpuid(7);
  Registers seven_one = seven.eax >= 1 ? cpuid(7, 1) : Registers{};
  bool fma_f16c_avx = bit(basic.ecx, 12) && bit(basic.ecx, 29) && bit(basic.ecx, 28);
  f.avx2 = ymm_saved && fma_f16c_avx && bit(seven.ebx, 5) && bit(seven.ebx, 3) && bit(seven.ebx, 8);
  f.avx_vnni = f.avx2 && bit(seven_one.eax, 4);
  f.avx512 =
      f.avx2 && zmm_saved && bit(seven.ebx, 16) && bit(seven.ebx, 17) && bit(seven.ebx, 30) && bit(seven.ebx, 31);
  f.avx512_vnni = f.avx512 && bit(seven.ecx, 11);
  f.avx512_bf16 = f.avx512_vnni && bit(seven_one.eax, 5);
  const bool tiles_saved = (state & 0x60000) == 0x60000;  // their configuration and their data
  const bool tiles = bit(seven.edx, 24) && bit(seven.edx, 25) && bit(seven.edx, 22);  // AMX-TILE, -INT8, -BF16
  f.avx512_amx = f.avx512_bf16 && tiles_saved && tiles && may_use_tiles();
  return f;
}

std::string brand_string() {
  if (cpuid(0x80000000u).eax < 0x80000004u) return {};
  char text[49] = {};
  for (unsigned i = 0; i < 3; ++i) {
    Registers r = cpuid(0x80000002u + i);
    std::memcpy(text + 16 * i, &r, 16);
  }
  return text;
}

#else

Features detect() { return {}; }
std::string brand_string() { return {}; }

#endif

bool runs(Target target, const Features& f) {
  switch (target) {
    case Target::k_scalar:
    case Target::k_emu512:
    case Target::k_emu_amx: return true;
    case Target::k_avx2: return f.avx2;
    case Target::k_avx2_vnni: return f.avx_vnni;
    case Target::k_avx512: return f.avx512;
    case Target::k_avx512_vnni: return f.avx512_vnni;
    case Target::k_avx512_bf16: return f.avx512_bf16;
    case Target::k_avx512_amx: return f.avx512_amx;
    case Target::kCount: break;
  }
  return false;
}

const TargetRow& row(Target target) {
  auto index = static_cast<size_t>(target);
  LOWP_CHECK(index < kRows.size());
  return kRows[index];
}

std::string supported_names() {
  std::string names;
  for (Target t : supported_targets()) names += fmt::format("{}{}", names.empty() ? "" : ", ", target_name(t));
  return names;
}

Result<Target> choose_target() {
  const char* forced = std::getenv("LOWP_ISA");
  if (forced != nullptr && *forced != '\0') {
    auto target = target_from_name(forced);
    if (!target)
      return fail(Code::kInvalidArgument, "LOWP_ISA={}: no such target; this CPU runs {}", forced, supported_names());
    if (!target_supported(*target)) {
      return fail(Code::kInvalidArgument, "LOWP_ISA={}: this CPU or operating system cannot run it; it runs {}", forced,
                  supported_names());
    }
    return *target;
  }
  Target best = Target::k_scalar;
  for (Target t : supported_targets()) {
    if (t != Target::k_emu512 && t != Target::k_emu_amx) best = t;
  }
  return best;
}

constexpr int kNotOverridden = -1;
std::atomic<int> overridden{kNotOverridden};

}  // namespace

std::string_view target_name(Target target) { return row(target).name; }

std::optional<Target> target_from_name(std::string_view name) {
  for (int i = 0; i < kTargetCount; ++i) {
    if (kRows[static_cast<size_t>(i)].name == name) return static_cast<Target>(i);
  }
  return std::nullopt;
}

bool target_has_vnni(Target target) { return row(target).vnni; }
bool target_has_bf16(Target target) { return row(target).bf16; }
bool target_has_amx(Target target) { return row(target).amx; }

std::span<const Target> supported_targets() {
  static const std::vector<Target> kTargets = [] {
    std::vector<Target> targets;
    Features features = detect();
    for (int i = 0; i < kTargetCount; ++i) {
      if (runs(static_cast<Target>(i), features)) targets.push_back(static_cast<Target>(i));
    }
    return targets;
  }();
  return kTargets;
}

bool target_supported(Target target) {
  for (Target t : supported_targets()) {
    if (t == target) return true;
  }
  return false;
}

Result<Target> selected_target() {
  int forced = overridden.load(std::memory_order_relaxed);
  if (forced != kNotOverridden) return static_cast<Target>(forced);
  static const Result<Target> kChoice = choose_target();
  return kChoice;
}

Target active_target() {
  auto target = selected_target();
  if (!target) throw InternalError(target.error().message());
  return *target;
}

void set_active_target(Target target) {
  LOWP_CHECK(target_supported(target));
  overridden.store(static_cast<int>(target), std::memory_order_relaxed);
}

std::string cpu_name() {
  std::string name = brand_string();
  if (name.empty()) {
    if (std::FILE* file = std::fopen("/proc/cpuinfo", "re")) {
      char line[512];
      while (name.empty() && std::fgets(line, sizeof(line), file) != nullptr) {
        const char* colon = std::strchr(line, ':');
        if (std::strncmp(line, "model name", 10) == 0 && colon != nullptr) name = colon + 1;
      }
      std::fclose(file);
    }
  }
  size_t first = name.find_first_not_of(" \t\n");
  if (first == std::string::npos) return "unknown";
  return name.substr(first, name.find_last_not_of(" \t\n") - first + 1);
}

}  // namespace lowp
