"""Small recorded files on disk."""

import json

import pytest


@pytest.fixture
def save(tmp_path):
    """A function that writes a value (or bytes) to a file and gives its path."""

    def write(value, name="file.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        return path

    return write
