"""Damaged checkpoint directories: raw safetensors files, and what is watched while one is read."""

import contextlib
import json
import os
import resource
import sys
import time
import tracemalloc
import warnings

_watched = {"on": False, "opened": []}


def _hook(event, arguments):
    if _watched["on"] and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _watched["opened"].append(os.fsdecode(arguments[0]))


sys.addaudithook(_hook)


def raw(header, data=b"", length=None):
    """The bytes of a safetensors file with any header (an object or bytes) and any claim of its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape, begin=0, end=None, dtype="F32"):
    """A tensor's entry in a header."""
    size = 4
    for n in shape:
        size *= n
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + size if end is None else end]}


@contextlib.contextmanager
def watched(folder, seconds=5.0, megabytes=64):
    """Fail if what runs inside opens a file of the test beside `folder`, or takes too much time or memory."""
    outside = folder.parent.resolve()
    _watched.update(on=True, opened=[])
    tracemalloc.start()
    began, resident = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _watched["on"] = False
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.process_time() - began < seconds
    assert peak < megabytes * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < megabytes * 2**10
    for name in _watched["opened"]:
        real = os.path.realpath(name)
        if real.startswith(str(outside)):
            assert real.startswith(str(folder.resolve())), f"{name} is outside of {folder}"
