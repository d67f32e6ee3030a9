#include "kernels/reduce/reduce.inl.h"
