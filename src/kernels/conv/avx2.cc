#include "kernels/conv/conv.inl.h"
