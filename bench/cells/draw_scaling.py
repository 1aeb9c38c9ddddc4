"""Draws how the cost of a layer grows, from a run of `python -m bench scaling`.

python -m bench.cells.draw_scaling bench/results/DATE-scaling.json docs/figures/layer-scaling.svg

Of each case the least of its rounds is drawn: on a shared machine others only add to it.
"""

from bench.lyapunov.draw_growth import main

WORDS = {
    "percent": "connected, %",
    "H": "units H",
    "B": "sequences B",
    "T": "time steps T",
}

if __name__ == "__main__":
    main(WORDS, "minimum")
