"""A filter of system calls, in every Linux kernel: what a decoding process never does.

The program is classic BPF; the kernel runs it before each system call. It refuses, with an error
that the caller can handle, what would write, reach other processes or the network, or start a
program. It looks at numbers only, never through a pointer, so it cannot be raced.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from typing import Final, NamedTuple

from edge_daemon.sandbox.kernel import checked, no_new_privileges, prctl

_PR_GET_SECCOMP: Final = 21
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2

# As the kernel names architectures, and the column of the tables below.
_MACHINES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # Nothing leaves or comes in but through the pipe the service opened.
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    # No other program, no child, no hold on another process.
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    # Nothing that changes a file by its name, its owner or its mode.
    "creat": (85, None), "truncate": (76, 45), "unlink": (87, None), "unlinkat": (263, 35),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, None),
    "mkdirat": (258, 34), "rmdir": (84, None), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None),
    "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "mq_open": (240, 180), "mq_unlink": (241, 181),
    # Nothing that gets round this filter, or that only a service needs.
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51),
    "pivot_root": (155, 41), "mount": (165, 40), "umount2": (166, 39),
    "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225),
}  # fmt: skip
"""Refused whatever the arguments: number on x86-64, and on aarch64 where it has the call."""

JUDGED: Final[dict[str, tuple[int | None, int | None]]] = {
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "clone": (56, 220),
    "clone3": (435, 435), "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261),
    "prctl": (157, 167), "ioctl": (16, 29),
}  # fmt: skip
"""Refused by their arguments, or as unknown so that the C library takes an older call."""

UNKNOWN: Final = 450
"""Calls from this number on came later than this table: the kernel says it has none of them.

The second set of numbers of x86-64 (x32) lies above it too.
"""

_CHANGING: Final = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC
_CLONE_THREAD: Final = 0x10000
_TIOCSTI: Final = 0x5412  # puts characters into a terminal's input
_PR_SET_PDEATHSIG: Final = 1

# Opcodes of classic BPF, and offsets into ``struct seccomp_data``.
_LOAD: Final = 0x20
_AND: Final = 0x54
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_NUMBER_AT: Final = 0
_MACHINE_AT: Final = 4
_ARGUMENTS_AT: Final = 16  # 8 bytes each, the low word first on both architectures

_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_ERROR: Final = 0x00050000


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("when_true", ctypes.c_uint8),
        ("when_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("first", ctypes.POINTER(_Instruction)))


class _Step(NamedTuple):
    """One instruction: what to do, and how many to skip when a comparison holds or fails."""

    code: int
    operand: int
    when_true: int = 0
    when_false: int = 0


def available() -> bool:
    """Whether this kernel and this kind of machine have the filter."""
    if platform.machine() not in _MACHINES or sys.maxsize < 1 << 32:
        return False
    try:
        prctl(_PR_GET_SECCOMP)
    except OSError:
        return False
    return True


def install() -> None:
    """Filter the calls of this thread, and of all it starts, for ever.

    Raises
    ------
    OSError
        The kernel refused.
    """
    steps = program(platform.machine(), os.getpid())
    code = (_Instruction * len(steps))(
        *(_Instruction(s.code, s.when_true, s.when_false, s.operand) for s in steps)
    )
    filtering = _Program(len(steps), code)
    no_new_privileges()
    checked(prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(filtering)), "system-call filter")


def program(machine: str, own: int) -> list[_Step]:
    """Write the filter for one kind of machine and the process `own`."""
    name, column = _MACHINES[machine]
    steps = [
        _Step(_LOAD, _MACHINE_AT),
        _Step(_EQUAL, name, 1, 0),
        _Step(_RETURN, _KILL),  # a call by the rules of another architecture
        _Step(_LOAD, _NUMBER_AT),
        _Step(_AT_LEAST, UNKNOWN, 0, 1),
        _refuse(errno.ENOSYS),
    ]
    for numbers in DENIED.values():
        if numbers[column] is not None:
            steps += _when(numbers[column], [_refuse()])
    for call, verdict in _verdicts(own).items():
        if (number := JUDGED[call][column]) is not None:
            steps += _when(number, verdict)
    return [*steps, _Step(_RETURN, _ALLOW)]


def _verdicts(own: int) -> dict[str, list[_Step]]:
    """Decide on each call in `JUDGED` by its arguments."""
    return {
        "open": _allow_if(1, _CHANGING, os.O_RDONLY),
        "openat": _allow_if(2, _CHANGING, os.O_RDONLY),
        "openat2": [_refuse(errno.ENOSYS)],
        "clone": _allow_if(0, _CLONE_THREAD, _CLONE_THREAD),
        "clone3": [_refuse(errno.ENOSYS)],
        "kill": _allow_if(0, 0xFFFFFFFF, own),
        "tgkill": _allow_if(0, 0xFFFFFFFF, own),
        "prlimit64": _allow_if(0, 0xFFFFFFFF, 0),
        "prctl": _refuse_if(0, _PR_SET_PDEATHSIG),
        "ioctl": _refuse_if(1, _TIOCSTI),
    }


def _when(number: int | None, verdict: list[_Step]) -> list[_Step]:
    """Reach a verdict, which must end in a return, for one call; skip it for every other."""
    assert number is not None
    return [_Step(_EQUAL, number, 0, len(verdict)), *verdict]


def _allow_if(argument: int, mask: int, value: int) -> list[_Step]:
    """Allow where these bits of an argument are `value`."""
    return [
        _Step(_LOAD, _ARGUMENTS_AT + 8 * argument),
        _Step(_AND, mask),
        _Step(_EQUAL, value, 0, 1),
        _Step(_RETURN, _ALLOW),
        _refuse(),
    ]


def _refuse_if(argument: int, value: int) -> list[_Step]:
    """Refuse where an argument is `value`."""
    return [
        _Step(_LOAD, _ARGUMENTS_AT + 8 * argument),
        _Step(_EQUAL, value, 0, 1),
        _refuse(),
        _Step(_RETURN, _ALLOW),
    ]


def _refuse(number: int = errno.EPERM) -> _Step:
    return _Step(_RETURN, _ERROR | number)
