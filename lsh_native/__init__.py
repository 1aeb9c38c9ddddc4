"""Lyapunov-spectrum-based hyperpruning (LSH) of recurrent networks, with real sparse kernels."""

__all__ = ["__version__"]

__version__ = "0.1.0"
