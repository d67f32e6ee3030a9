// The floating-point mode that lowp's arithmetic assumes: round to nearest even, no flush-to-zero, no
// denormals-are-zero, exceptions masked. A host program (or -ffast-math in a library it loads) may have set something
// else.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace lowp {

// Sets lowp's mode for its lifetime in this thread and restores the caller's afterwards.
class FpMode {
 public:
#if defined(__SSE2__)
  FpMode() : saved_(_mm_getcsr()) {
    if (saved_ != kMode) _mm_setcsr(kMode);
  }
  // Only the control bits go back: what the arithmetic raised stays visible, as after any other function.
  ~FpMode() {
    uint32_t now = _mm_getcsr();
    uint32_t wanted = (saved_ & ~kStatusBits) | ((saved_ | now) & kStatusBits);
    if (now != wanted) _mm_setcsr(wanted);
  }
#else
  FpMode() = default;
  ~FpMode() {}
#endif
  FpMode(const FpMode&) = delete;
  FpMode& operator=(const FpMode&) = delete;

 private:
#if defined(__SSE2__)
  static constexpr uint32_t kMode = 0x1f80;
  static constexpr uint32_t kStatusBits = 0x3f;
  uint32_t saved_;
#endif
};

}  // namespace lowp
