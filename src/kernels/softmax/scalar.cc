#include "kernels/softmax/softmax.inl.h"
