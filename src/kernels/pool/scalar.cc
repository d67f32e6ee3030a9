#include "kernels/pool/pool.inl.h"
