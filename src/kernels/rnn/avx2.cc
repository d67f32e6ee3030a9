#include "kernels/rnn/rnn.inl.h"
