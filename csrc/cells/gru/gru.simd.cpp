// The gated recurrent unit's recurrence at one SIMD level.
#include "cells/gru/gru.h"
#include "cells/recurrent.simd.h"

LSH_CELL_KERNELS(gru, Gru)
