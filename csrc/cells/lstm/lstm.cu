// The LSTM's recurrence on a device.
#include "cells/lstm/lstm.h"
#include "cells/recurrent.cuh"

LSH_CELL_LAUNCHERS(lstm, Lstm)
