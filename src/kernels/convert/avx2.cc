#include "kernels/convert/convert.inl.h"
