"""Makes `bench` importable: it is part of the source tree and of no wheel."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    # Last, so that an installed lsh_native stays the one that is imported.
    sys.path.append(ROOT)
