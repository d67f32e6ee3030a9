#include "kernels/norm/norm.inl.h"
