"""Tests of the recurrence run on one thread unless they set more."""

import pytest


@pytest.fixture(autouse=True)
def one_thread(set_threads: object) -> None:
    """What `set_threads` does, for every test of the folder."""
