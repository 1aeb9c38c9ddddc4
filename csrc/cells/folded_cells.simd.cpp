// The folded tangent of every cell at one SIMD level.
#include "cells/elman/elman.h"
#include "cells/every_cell.h"
#include "cells/folded.simd.h"
#include "cells/gru/gru.h"
#include "cells/lstm/lstm.h"
#include "cells/rhn/rhn.h"

LSH_EVERY_CELL(LSH_FOLDED_KERNELS)
