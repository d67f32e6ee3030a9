#include "kernels/random/random.inl.h"
