// The Elman cell's recurrence on a device.
#include "cells/elman/elman.h"
#include "cells/recurrent.cuh"

LSH_CELL_LAUNCHERS(elman, Elman)
