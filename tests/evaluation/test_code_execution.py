"""Programs that try to get out, to take the machine, or to pass without doing the work."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import pytest

from seal_jax.evaluation.code_execution import Limits, Outcome, Program, missing_guards, run_program, run_programs
from seal_jax.evaluation.sandbox import seccomp, syscalls
from seal_jax.evaluation.sandbox.confinement import GUARDS

# Short on the clock for what only the clock ends, roomy for what ends itself on a busy machine.
ENDLESS = Limits(cpu_seconds=1, wall_seconds=1.0)
SHORT = Limits(cpu_seconds=2, wall_seconds=20.0, memory_bytes=256 << 20, file_bytes=1 << 20, scratch_bytes=2 << 20)

# Each would be a pass if it did what it tries to, so that "failed" means that it was held. name: (program, reason).
SECRET = "not-for-programs-6117"
ATTACKS = {
    "fork bomb": ("import os\nwhile True: os.fork()", "PermissionError"),
    "fork bomb that catches errors": (
        "import os\nn = 0\nfor _ in range(1000):\n    try:\n        os.fork(); n += 1\n    except OSError: pass\n"
        "assert n",
        "AssertionError",
    ),
    "a program": ("import subprocess\nsubprocess.run(['/bin/true'], check=True)", "PermissionError"),
    "a shell": ("import os\nassert os.system('true') == 0", "AssertionError"),
    "becoming a program": ("import os, sys\nos.execv(sys.executable, [sys.executable, '-c', ''])", "PermissionError"),
    "threads": ("import threading\nthreading.Thread(target=print).start()", "RuntimeError"),
    "huge allocation": ("data = bytearray(1 << 33)", "MemoryError"),
    "many small allocations": ("data = []\nwhile True: data.append(bytearray(1 << 16))", "MemoryError"),
    "shared memory": ("import mmap\nmmap.mmap(-1, 1 << 33)", ""),
    "memory in a file": ("import os\nos.memfd_create('x')", "PermissionError"),
    "deep recursion": ("def f(n): return f(n + 1) + 1\nf(0)", "RecursionError"),
    "printing without end": ("while True: print('x' * 10000)", "printed more than 65536 bytes"),
    "printing to standard error": ("import sys\nwhile True: sys.stderr.write('x' * 10000)", "printed more than"),
    "printing past descriptors": ("import os\nwhile True: os.write(1, b'x' * 10000)", "printed more than"),
    "a huge file": ("f = open('huge', 'wb')\nwhile True: f.write(b'x' * 65536)", "OSError"),
    "many files": (
        "import time\nfor i in range(20): open(str(i), 'wb').write(b'x' * 1000000)\ntime.sleep(9)",
        "wrote more than",
    ),
    "a sparse file": ("f = open('huge', 'wb')\nf.truncate(1 << 40)", "OSError"),
    "a folder in a folder": ("import os\nos.mkdir('a')", "PermissionError"),
    "a socket": ("import socket\nsocket.socket()", "PermissionError"),
    "a local socket": ("import socket\nsocket.socketpair()", "PermissionError"),
    "a request": ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1')", "Error"),
    "standard input": ("input()", "EOFError"),
    "killing the parent": ("import os\nos.kill(os.getppid(), 9)", "PermissionError"),
    "killing all": ("import os\nos.kill(-1, 9)", "PermissionError"),
    "limiting the parent": ("import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))", "Perm"),
    "raising its own limits": ("import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "ValueError"),
    "slowing the parent": ("import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)", "PermissionError"),
    "leaving its session": ("import os\nos.setsid()", "PermissionError"),
    "more namespaces": (
        "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.unshare(0x10000000) == 0",
        "AssertionError",
    ),
    "an old system call": ("import ctypes\nassert ctypes.CDLL(None).syscall(101, 0, 0, 0, 0) == 0", "AssertionError"),
    "the parent's environment": ("import os\nopen(f'/proc/{os.getppid()}/environ').read()", "PermissionError"),
    "its own environment": (f"import os\nassert {SECRET!r} in str(os.environ)", "AssertionError"),
    "its own environment by the kernel": ("open('/proc/self/environ').read()", "PermissionError"),
    "listing processes": ("import os\nos.listdir('/proc')", "PermissionError"),
    "reading a file of the user": ("open('{file}').read()", "PermissionError"),
    "a relative path out": ("import os\nos.listdir('..')", "PermissionError"),
    "listing the home": ("import os\nos.listdir(os.path.expanduser('~'))", "Error"),
    "reading accounts": ("open('/etc/passwd').read()", "PermissionError"),
    "deleting a file": ("import os\nos.remove('{file}')", "PermissionError"),
    "deleting a tree": ("import shutil\nshutil.rmtree('{folder}')", "PermissionError"),
    "overwriting a file": ("open('{file}', 'w').write('gone')", "PermissionError"),
    "appending to a file": ("open('{file}', 'a').write('more')", "PermissionError"),
    "emptying a file": ("import os\nos.truncate('{file}', 0)", "PermissionError"),
    "emptying a file opened to read": ("import os\nos.open('{file}', os.O_RDONLY | os.O_TRUNC)", "PermissionError"),
    "moving a file": ("import os\nos.rename('{file}', 'mine')", ""),
    "linking a file": ("import os\nos.link('{file}', 'mine')", "PermissionError"),
    "changing modes": ("import os\nos.chmod('{file}', 0)", "PermissionError"),
    "changing times": ("import os\nos.utime('{file}', (0, 0))", "PermissionError"),
    "making a file": ("open('{folder}/new', 'w')", "PermissionError"),
    "the interpreter's libraries": ("import json\nopen(json.__file__, 'a')", "PermissionError"),
    "the test's descriptors": (
        "import os\nfound = [fd for fd in range(3, 4096) if not fails(os.fstat, fd)]\nassert len(found) > 2, found\n",
        "AssertionError",
    ),
    "an exit code of 0": ("import os\nos._exit(0)", "without a verdict"),
    "an exit": ("import sys\nsys.exit(0)", "SystemExit"),
    "an exit at the end": ("import atexit, os\natexit.register(os._exit, 0)\nraise KeyError(1)", "KeyError"),
    "printing a verdict": ("import os\nprint('ready\\npassed')\nos._exit(0)", "without a verdict"),
    "a verdict without the token": (
        "import os\nfor fd in range(3, 64): fails(os.write, fd, b'passed 0123456789abcdef0123456789abcdef')\n"
        "os._exit(0)",
        "without a verdict",
    ),
    "other builtins": (
        "import builtins, os\nbuiltins.exec = builtins.compile = builtins.print = lambda *a, **k: None\n"
        "os._exit = os.write = os.read = lambda *a: b''",
        "AssertionError",
    ),
    "no exceptions": (
        "class AssertionError(Exception): pass\nimport builtins\nbuiltins.AssertionError = int",
        "Assert",
    ),
    "tracing": ("import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)", "AssertionError"),
    "an error that fails to print": ("class E(Exception):\n    def __str__(self): raise E\nraise E", "E at line"),
    "an error of many words": ("raise ValueError('x' * 10 ** 7)", "ValueError: xxx"),
    "no program": ("def f(:", "SyntaxError"),
    "nested too deeply": ("(" * 100000, ""),
    "a segmentation fault": ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    "abort": ("import os\nos.abort()", "SIGABRT"),
    "killing itself": ("import os\nos.kill(os.getpid(), 9)", "SIGKILL"),
    "searching for the checks": (
        "import gc, sys\nframe, seen = sys._getframe(), []\n"
        "while frame:\n    seen += list(frame.f_locals.values())\n    frame = frame.f_back\nseen += gc.get_objects()\n"
        "words = ['the ' + 'checks ran', (b'the ' + b'checks ran').decode()]\n"
        "assert any(isinstance(x, (str, bytes)) and words[0] in (x if isinstance(x, str) else x.decode('latin-1')) "
        "and len(x) < 60 for x in list(seen)), 'nowhere'",
        "nowhere",
    ),
    "deleting what it wrote": ("import os\nopen('a', 'w').close()\nos.remove('a')", "PermissionError"),
    "moving what it wrote": ("import os\nopen('a', 'w').close()\nos.rename('a', 'b')", "PermissionError"),
    "a file without a name": ("import os\nos.open('.', os.O_TMPFILE | os.O_RDWR)", "PermissionError"),
    "deleted files that stay mapped": (
        "import mmap, os\nkept = []\nfor i in range(200):\n    with open(str(i), 'wb+') as f:\n"
        "        f.write(b'x' * 1000000)\n        f.flush()\n        kept.append(mmap.mmap(f.fileno(), 4096))\n"
        "    try: os.unlink(str(i))\n    except OSError: pass\n    time.sleep(0.01)",
        "wrote more than",
    ),
    "speaking for its functions": (
        "import os\nfor fd in range(3, 64): fails(os.write, fd, b'[\"value\", true]\\n' * 9)\n",
        "",
    ),
    "speaking without end": (
        "import os\nwhile True: fails(os.write, 4, b'x' * 65536); fails(os.write, 6, b'x' * 65536)",
        "",
    ),
}
TIMEOUTS = {
    "an endless loop": "while True: pass",
    "a loop in C": "sum(range(10 ** 12))",
    "sleeping": "import time\ntime.sleep(60)",
    "pausing": "import signal\nsignal.pause()",
    "ignoring signals": "import signal\nfor n in (2, 15, 24): signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
    "closing its pipes": "import os\nos.closerange(0, 64)\nwhile True: pass",
    "catching everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "an error that takes forever": "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
}
HELPER = "import time\ndef fails(f, *a):\n    try: f(*a)\n    except OSError: return True\n"
# Three kinds of attack leave the checks to run; these fail unless they were circumvented.
CHECKS = "assert False, 'the checks ran'"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A user's folder with a file in it, outside of the programs' reach."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "file").write_text("precious")
    return folder


@pytest.fixture(scope="module")
def outcomes(tree, tmp_path_factory):
    """What came of each attack, and which processes and scratch folders there were afterwards."""
    scratch = tmp_path_factory.mktemp("scratch")
    places = {"{file}": str(tree / "file"), "{folder}": str(tree)}
    codes = [code for code, _ in ATTACKS.values()]
    for place, path in places.items():
        codes = [code.replace(place, path) for code in codes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROGRAM_SECRET", SECRET)
        patch.setattr(tempfile, "tempdir", str(scratch))
        done = run_programs([Program(HELPER + code, CHECKS) for code in codes], SHORT, workers=4)
        done += run_programs([Program(code, CHECKS) for code in TIMEOUTS.values()], ENDLESS, workers=8)
    return dict(zip([*ATTACKS, *TIMEOUTS], done)), left_over(scratch)


def left_over(folder):
    """Processes whose working directory is, or was, below a folder; and what is in the folder."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cwd"):
        try:
            found += [path] if os.readlink(path).startswith(str(folder)) else []
        except OSError:
            continue
    return found, sorted(folder.iterdir())


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_held_and_is_no_pass(outcomes, name):
    got = outcomes[0][name]
    assert got.status in ("failed", "crashed"), got
    assert ATTACKS[name][1] in got.reason, got
    assert len(got.reason) < 1000
    assert len(got.output) <= SHORT.output_bytes


@pytest.mark.parametrize("name", TIMEOUTS)
def test_what_does_not_end_is_ended(outcomes, name):
    got = outcomes[0][name]
    assert got.status == "timeout", got
    assert got.seconds < 20


def test_the_machine_is_as_it_was(outcomes, tree):
    assert outcomes[1] == ([], [])
    assert [p.name for p in tree.iterdir()] == ["file"]
    assert (tree / "file").read_text() == "precious"
    assert (tree / "file").stat().st_mode & 0o777 != 0


def test_programs_that_work_pass():
    good = {
        "nothing": Program(""),
        "a function": Program("def f(x):\n    return x + 1", "assert f(1) == 2"),
        "libraries": Program("import numpy, dataclasses, json, re, collections, itertools, math, decimal, datetime"),
        "a data class": Program(
            "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int = 1",
            "assert A().x == 1",
        ),
        "a scratch file": Program(
            "import os\nopen('a', 'w').write('x' * 9)\nopen('a', 'w').write('x')\nassert open('a').read() == 'x'\n"
            "assert os.listdir('.') == ['a']"
        ),
        "not main": Program("if __name__ == '__main__':\n    raise SystemExit"),
        "a catch-all": Program("import os\ntry:\n    os.fork()\nexcept Exception:\n    pass", "assert True"),
    }
    done = dict(zip(good, run_programs(list(good.values()), SHORT)))
    assert {name: (o.status, o.reason) for name, o in done.items()} == dict.fromkeys(good, ("passed", ""))


def test_runs_are_alike_and_what_is_printed_is_kept():
    program = Program("print({'a', 'b', 'c'}, hash('x'))\nimport sys\nprint('to stderr', file=sys.stderr)", "assert 1")
    first, second = run_programs([program, program])
    assert first.output == second.output
    assert "to stderr" in first.output


def test_a_program_dies_with_its_caller(tmp_path):
    """Killed without a chance to clean up, the caller leaves no program behind."""
    code = f"from seal_jax.evaluation.code_execution import *\nimport os\nopen({str(tmp_path / 'go')!r}, 'w').close()\n"
    code += "run_program(Program('import time; time.sleep(50)'), Limits(wall_seconds=60))"
    caller = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)})
    children = wait_for(lambda: (tmp_path / "go").exists() and child_of(caller.pid))
    time.sleep(0.5)  # past its confinement
    children = child_of(caller.pid) or children
    caller.kill()
    caller.wait()
    assert wait_for(lambda: not left_over(tmp_path)[0])
    assert children


def child_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or [
            child
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []


def wait_for(found, seconds=60):
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.05)
    return value


# Installs a filter that refuses one system call (with ENOSYS), as kernels that lack it do, and tries what is left.
WITHOUT = """
import ctypes, os, struct
from seal_jax.evaluation.code_execution import *
from seal_jax.evaluation import code_execution
lines = [(0x20, 0, 0, 0), (0x15, 0, {jump}, {number}), *{argument}, (6, 0, 0, 0x00050026), (6, 0, 0, 0x7FFF0000)]
held = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxP", len(lines), ctypes.addressof(held)), 0, 0) == 0
print("missing", missing_guards())
try:
    run_program(Program(""))
except UnguardedError as error:
    print("refused", error)
run = lambda code: run_program(Program(code), unguarded=missing_guards())
for code in {programs!r}:
    print(run(code)[:2])
"""
PRCTL = {"x86_64": 157, "aarch64": 167}
HELD_BY_SECCOMP = ["", "open('/etc/passwd').read()", "open('a', 'w')", "import os\nos.remove('{file}')",
                   "import os\nos.fork()", "import socket\nsocket.socket()"]  # fmt: skip


def test_without_landlock_reading_is_not_held_and_said_so(tree):
    programs = [code.replace("{file}", str(tree / "file")) for code in HELD_BY_SECCOMP]
    lines = in_process(WITHOUT.format(number=444, jump=1, argument=[], programs=programs))
    assert lines[0] == "missing ('reads',)"
    assert lines[1].startswith("refused")
    assert "unguarded=('reads',)" in lines[1]
    assert [line.split("'")[1] for line in lines[2:]] == ["passed", "passed", *["failed"] * 4]
    assert (tree / "file").read_text() == "precious"


def test_without_seccomp_hardly_anything_is_held_and_said_so(tree):
    argument = [(0x20, 0, 0, 16), (0x15, 0, 1, 22)]  # prctl with the option PR_SET_SECCOMP
    number = PRCTL[os.uname().machine]
    lines = in_process(WITHOUT.format(number=number, jump=3, argument=argument, programs=["", "open('/etc/passwd')"]))
    assert lines[0] == "missing ('processes', 'network', 'writes')"
    assert lines[1].startswith("refused")
    assert [line.split("'")[1] for line in lines[2:]] == ["passed", "failed"]


def in_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_this_machine_has_all_guards():
    assert missing_guards() == ()
    assert len(GUARDS) == 4


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_list_of_calls_has_no_way_out(machine):
    """No number twice, and none of the calls that start programs, open sockets or reach other processes."""
    out = {"x86_64": {"socket": 41, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "ptrace": 101, "clone3": 435},
           "aarch64": {"socket": 198, "clone": 220, "execve": 221, "ptrace": 117, "clone3": 435}}[machine]  # fmt: skip
    numbers = syscalls.allowed(machine, changes=True)
    assert len(set(numbers)) == len(numbers)
    assert not set(out.values()) & {*numbers, *syscalls.conditional(machine).values()}
    program = seccomp.program(machine, (1, 2), writes=True)
    assert len(program) < 4096
    assert all(at + 1 + max(step[1:3]) < len(program) for at, step in enumerate(program[:-1]) if step[0] & 7 == 5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"cpu_seconds": 0}, "cpu_seconds=0"), ({"memory_bytes": 1000}, "too little for an interpreter")],
)
def test_limits_that_make_no_sense(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Limits(**wrong)


def test_an_unknown_guard():
    with pytest.raises(ValueError, match="unknown guards"):
        run_program(Program(""), unguarded=("everything",))


def test_a_text_that_cannot_be_a_program_is_an_outcome():
    assert isinstance(run_program(Program("\ud800")), Outcome)
    assert run_program(Program("x = '\0'")).status == "failed"


def test_no_programs():
    assert run_programs([]) == []
