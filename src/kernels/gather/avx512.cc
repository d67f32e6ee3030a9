#include "kernels/gather/scatter.inl.h"
