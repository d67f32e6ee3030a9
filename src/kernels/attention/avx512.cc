#include "kernels/attention/attention.inl.h"
