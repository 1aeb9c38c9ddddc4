"""Benches of Lyapunov spectra."""
