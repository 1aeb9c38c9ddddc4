// The recurrent highway on a device, with coupled and with free carry.
#include "cells/rhn/rhn.h"

#include "cells/recurrent.cuh"

LSH_CELL_LAUNCHERS(rhn, Rhn<true>)
LSH_CELL_LAUNCHERS(free_rhn, Rhn<false>)
