"""The system calls that confined code may make: name, number on x86-64, number on aarch64 ("-" where there is none).

What is not here is refused: sockets, new processes and threads, other programs, tracing, mounts, changing owners and
modes, directories, links, shared memory, io_uring. A Python program of one thread that computes needs none of them.
"""

from __future__ import annotations

_PLAIN = """
read 0 63; write 1 64; readv 19 65; writev 20 66; pread64 17 67; pwrite64 18 68; preadv 295 69; pwritev 296 70;
close 3 57; close_range 436 436; lseek 8 62; fstat 5 80; stat 4 -; lstat 6 -; newfstatat 262 79; statx 332 291;
statfs 137 43; fstatfs 138 44; access 21 -; faccessat 269 48; faccessat2 439 439; readlink 89 -; readlinkat 267 78;
getdents 78 -; getdents64 217 61; getcwd 79 17; chdir 80 49; fchdir 81 50; umask 95 166; dup 32 23; dup2 33 -;
dup3 292 24; pipe 22 -; pipe2 293 59; poll 7 -; ppoll 271 73; select 23 -; pselect6 270 72; epoll_create 213 -;
epoll_create1 291 20; epoll_ctl 233 21; epoll_wait 232 -; epoll_pwait 281 22; eventfd2 290 19; fsync 74 82;
fdatasync 75 83; fadvise64 221 223; mmap 9 222; munmap 11 215; mremap 25 216; mprotect 10 226; brk 12 214;
madvise 28 233; msync 26 227; mincore 27 232; futex 202 98; set_robust_list 273 99; rseq 334 293; membarrier 324 283;
rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; rt_sigpending 127 136; rt_sigsuspend 130 133;
rt_sigtimedwait 128 137; sigaltstack 131 132; restart_syscall 219 128; pause 34 -; alarm 37 -; setitimer 38 103;
getitimer 36 102; nanosleep 35 101; clock_nanosleep 230 115; clock_gettime 228 113; clock_getres 229 114;
gettimeofday 96 169; time 201 -; times 100 153; getrusage 98 165; getrlimit 97 163; setrlimit 160 164; uname 63 160;
sysinfo 99 179; getrandom 318 278; getpid 39 172; getppid 110 173; gettid 186 178; getuid 102 174; geteuid 107 175;
getgid 104 176; getegid 108 177; getresuid 118 148; getresgid 120 150; getgroups 115 158; getpgid 121 155;
getpgrp 111 -; getsid 124 156; sched_yield 24 124; sched_getaffinity 204 123; sched_getparam 143 121;
sched_getscheduler 145 120; getcpu 309 168; getpriority 140 141; wait4 61 260; waitid 247 95; exit 60 93;
exit_group 231 94
"""
# This changes files, so it needs a second wall that says which. None is deleted or renamed: a deleted file that is
# still mapped takes space that nobody sees.
_CHANGES = "ftruncate 77 46"
# These depend on their arguments (seccomp.py).
_CONDITIONAL = "open 2 -; openat 257 56; fcntl 72 25; ioctl 16 29; kill 62 129; tgkill 234 131; prlimit64 302 261"

MACHINES = {"x86_64": 0, "aarch64": 1, "arm64": 1}
"""Column of each machine, as `os.uname().machine` calls it."""


def _column(table: str, machine: str) -> dict[str, int]:
    rows = (row.split() for row in table.split(";"))
    return {name: int(numbers[MACHINES[machine]]) for name, *numbers in rows if numbers[MACHINES[machine]] != "-"}


def allowed(machine: str, changes: bool) -> list[int]:
    """The numbers of the calls that are allowed whatever their arguments; `changes`: those that change files too."""
    return list({**_column(_PLAIN, machine), **(_column(_CHANGES, machine) if changes else {})}.values())


def conditional(machine: str) -> dict[str, int]:
    """The calls whose arguments decide: name to number."""
    return _column(_CONDITIONAL, machine)
