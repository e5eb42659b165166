"""Fixtures of the parity table (see family_rows.py), for any test module in this folder."""

import family_rows
import pytest


@pytest.fixture(scope="session")
def build_row(tmp_path_factory):
    """A function from a row's name to its `Row`, built once in a session."""
    built = {}

    def build(name):
        if name not in built:
            built[name] = family_rows.build(name, tmp_path_factory.mktemp(name))
        return built[name]

    return build


@pytest.fixture(scope="module", params=family_rows.ROWS)
def row(request, build_row):
    """Each row of the parity table in turn."""
    return build_row(request.param)
