#include "kernels/elementwise/elementwise.inl.h"
