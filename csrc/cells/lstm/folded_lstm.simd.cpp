// The LSTM's folded tangent at one SIMD level.
#include "cells/folded.simd.h"
#include "cells/lstm/lstm.h"

LSH_FOLDED_KERNELS(folded_lstm, Lstm)
