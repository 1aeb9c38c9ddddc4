// The recurrent highway at one SIMD level, with coupled and with free carry.
#include "cells/rhn/rhn.h"

#include "cells/recurrent.simd.h"

LSH_CELL_KERNELS(rhn, Rhn<true>)
LSH_CELL_KERNELS(free_rhn, Rhn<false>)
