"""A store to fill, and ways to fill it."""

from functools import partial

import pytest
from report_studies import final_table_of, run_study

from lsh_native.search.store import Store


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store._database.query("PRAGMA synchronous = OFF")
        yield store


@pytest.fixture
def run(store, tmp_path):
    """`run_study` in `store`."""
    return partial(run_study, store, tmp_path)


@pytest.fixture
def final_table(store):
    """`final_table_of` the study in `store`, when called."""
    return partial(final_table_of, store)
