#include "kernels/activation/activation.inl.h"
