// The gated recurrent unit's recurrence on a device.
#include "cells/gru/gru.h"
#include "cells/recurrent.cuh"

LSH_CELL_LAUNCHERS(gru, Gru)
