#include "kernels/layout/layout.inl.h"
