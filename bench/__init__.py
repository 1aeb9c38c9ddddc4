"""Benchmarks of lsh_native: `python -m bench` times every case against its peers."""
