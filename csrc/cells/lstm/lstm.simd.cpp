// The LSTM's recurrence at one SIMD level.
#include "cells/lstm/lstm.h"
#include "cells/recurrent.simd.h"

LSH_CELL_KERNELS(lstm, Lstm)
