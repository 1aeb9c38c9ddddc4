"""Benchmarks of `lsh_native.training`."""
