// The LSTM's recurrence on a device, with and without a projection.
#include "cells/lstm/lstm.h"
#include "cells/recurrent.cuh"

LSH_CELL_LAUNCHERS(lstm, Lstm)
LSH_CELL_LAUNCHERS(projected_lstm, ProjectedLstm)
