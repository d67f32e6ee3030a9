#include "kernels/batch_norm/batch_norm.inl.h"
