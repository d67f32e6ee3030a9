#include "kernels/norm/layer_norm_gradient.inl.h"
#include "kernels/norm/norm.inl.h"
