// The Elman cell's recurrence at one SIMD level.
#include "cells/elman/elman.h"
#include "cells/recurrent.simd.h"

LSH_CELL_KERNELS(elman, Elman)
