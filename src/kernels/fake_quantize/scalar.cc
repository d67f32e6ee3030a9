#include "kernels/fake_quantize/fake_quantize.inl.h"
