// The folded tangent of every cell at one SIMD level.
#include "cells/elman/elman.h"
#include "cells/folded.simd.h"
#include "cells/gru/gru.h"
#include "cells/lstm/lstm.h"
#include "cells/rhn/rhn.h"

LSH_FOLDED_KERNELS(folded_elman, Elman)
LSH_FOLDED_KERNELS(folded_gru, Gru)
LSH_FOLDED_KERNELS(folded_lstm, Lstm)
LSH_FOLDED_KERNELS(folded_rhn, Rhn<true>)
LSH_FOLDED_KERNELS(folded_free_rhn, Rhn<false>)
