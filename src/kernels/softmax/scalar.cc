#include "kernels/softmax/loss.inl.h"
#include "kernels/softmax/softmax.inl.h"
