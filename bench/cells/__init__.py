"""Benches of recurrent layers."""
