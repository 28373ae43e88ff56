"""
Takes from the calling process, for good, the files, ports and programs that it has no need of.

It is done by Landlock, which Linux offers to every process since 5.13, without root and without containers; 5.19 is
needed, as files could not be moved between folders before. What is taken is refused by the kernel whatever the process
is asked to do, so it does not matter which functions and formats it knows. Processes started later inherit it, threads
that run already do not: call it before there are any.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

OLDEST_ABI: Final = 2
_NET_ABI, _SCOPE_ABI, _TRUNCATE_ABI, _IOCTL_ABI = 4, 6, 3, 5

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1
_BENEATH, _NET_PORT = 1, 2
_NO_NEW_PRIVILEGES: Final = 38

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
# All but executing, devices, sockets and FIFOs: writing, removing, and making files, folders and links in a folder.
_CHANGE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13 | _TRUNCATE
_FILE_RIGHTS: Final = _READ_FILE | 1 << 1 | _TRUNCATE
_BIND, _CONNECT = 1 << 0, 1 << 1
_SCOPES: Final = 1 << 0 | 1 << 1
"""Abstract sockets of other processes, and signals to them."""


class ConfinementError(RuntimeError):
    """The kernel refuses to confine this process."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


class _Port(ctypes.Structure):
    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


def abi() -> int:
    """Return the version of Landlock that the kernel has; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    version: int = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    return max(0, version)


def available() -> bool:
    """Return whether `confine` can do its work on this machine."""
    return abi() >= OLDEST_ABI


def confine(
    *, read: Iterable[Path], write: Iterable[Path], listen: Iterable[int] = (), connect: Iterable[int] = ()
) -> None:
    """
    Leave this process nothing but the given files and ports; no program can be started any more.

    Args:
        read: Files, and folders with all that is in them; those that do not exist are passed over.
        write: Folders in which everything may be read and changed.
        listen: TCP ports that may be listened on. Ports are restricted from Linux 6.7 on.
        connect: TCP ports that may be connected to, on whatever host.

    Raises:
        ConfinementError: The kernel refuses.

    """
    version, libc = abi(), _libc()
    known = (1 << 13 | (1 << 13) - 1) | (_TRUNCATE if version >= _TRUNCATE_ABI else 0)
    known |= _IOCTL if version >= _IOCTL_ABI else 0
    net = _BIND | _CONNECT if version >= _NET_ABI else 0
    attributes = _Ruleset(known, net, _SCOPES if version >= _SCOPE_ABI else 0)
    ruleset = libc.syscall(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), ctypes.c_uint32(0)
    )
    _check(ruleset, "make a set of rules")
    try:
        for paths, rights in ((read, _READ_FILE | _READ_DIR), (write, _READ_FILE | _READ_DIR | _CHANGE)):
            for path in paths:
                _allow(libc, ruleset, path, rights & known)
        for ports, right in ((listen, _BIND), (connect, _CONNECT)):
            for port in ports if net else ():
                rule = _Port(right, port)
                _check(
                    libc.syscall(_ADD_RULE, ruleset, _NET_PORT, ctypes.byref(rule), ctypes.c_uint32(0)),
                    f"allow port {port}",
                )
        _check(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "give up new privileges")
        _check(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)), "confine itself")
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rule = _Beneath(rights if path.is_dir() else rights & _FILE_RIGHTS, folder)
        _check(libc.syscall(_ADD_RULE, ruleset, _BENEATH, ctypes.byref(rule), ctypes.c_uint32(0)), f"allow {path}")
    finally:
        os.close(folder)


def _check(outcome: int, doing: str) -> None:
    if outcome < 0:
        raise ConfinementError(f"the kernel does not let this process {doing}: {os.strerror(ctypes.get_errno())}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
