#include "kernels/rnn/rnn.inl.h"
#include "kernels/rnn/rnn_gradient.inl.h"
