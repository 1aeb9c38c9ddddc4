// The tangent with packed panels of every cell at one SIMD level.
#include "cells/elman/elman.h"
#include "cells/gru/gru.h"
#include "cells/lstm/lstm.h"
#include "cells/paneled.simd.h"
#include "cells/rhn/rhn.h"

LSH_PANELED_KERNELS(paneled_elman, Elman)
LSH_PANELED_KERNELS(paneled_gru, Gru)
LSH_PANELED_KERNELS(paneled_lstm, Lstm)
LSH_PANELED_KERNELS(paneled_rhn, Rhn<true>)
LSH_PANELED_KERNELS(paneled_free_rhn, Rhn<false>)
