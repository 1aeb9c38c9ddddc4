"""Benches of order theory."""
