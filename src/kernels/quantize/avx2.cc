#include "kernels/quantize/quantize.inl.h"
