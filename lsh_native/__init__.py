"""Lyapunov-spectrum-based hyperpruning (LSH) of recurrent networks, with real sparse kernels."""
