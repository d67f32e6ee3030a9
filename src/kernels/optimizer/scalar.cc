#include "kernels/optimizer/optimizer.inl.h"
