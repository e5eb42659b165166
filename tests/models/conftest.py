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


# The parity table itself: a line per family, a column per test of test_family_table.py that ran.
_outcomes: dict[str, dict[str, str]] = {}


def pytest_runtest_logreport(report):
    """Remember how each column came out for each family; a fixture that failed counts as well."""
    path, _, test = report.nodeid.partition("::")
    if not path.endswith("test_family_table.py") or not (report.when == "call" or report.failed):
        return
    column, _, name = test.removesuffix("]").partition("[")
    _outcomes.setdefault(name, {})[column.removeprefix("test_")] = "yes" if report.passed else "NO"


def pytest_terminal_summary(terminalreporter):
    """Print the table after a run that made it."""
    if not _outcomes:
        return
    columns = list(dict.fromkeys(column for row in _outcomes.values() for column in row))
    terminalreporter.section("parity with transformers and peft")
    for letter, column in zip("abcdefghijklmnopqrstuvwxyz", columns):
        terminalreporter.line(f"  {letter}  {column.replace('_', ' ')}")
    terminalreporter.line(" " * 22 + "".join(f"{letter:>5}" for letter in "abcdefghijklmnopqrstuvwxyz"[: len(columns)]))
    for name, row in _outcomes.items():
        terminalreporter.line(f"  {name:20}" + "".join(f"{row.get(column, '-'):>5}" for column in columns))
