// The LSTM's folded tangent at one SIMD level.
#include "cells/lstm/lstm.h"
#include "lyapunov/folded.simd.h"

LSH_FOLDED_KERNELS(folded_lstm, Lstm)
