// The LSTM's recurrence at one SIMD level, with and without a projection.
#include "cells/lstm/lstm.h"
#include "cells/recurrent.simd.h"

LSH_CELL_KERNELS(lstm, Lstm)
LSH_CELL_KERNELS(projected_lstm, ProjectedLstm)
