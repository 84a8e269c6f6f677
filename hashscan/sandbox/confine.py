"""Confine a new decoder before it reads any untrusted byte: user, capabilities, limits, Landlock.

The interface is that of linux/landlock.h and the kernel's userspace-api/landlock page.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

from hashscan.sandbox import seccomp
from hashscan.sandbox.libraries import FIRST_DESCRIPTOR
from hashscan.sandbox.linux_process import (
    capabilities,
    clear_capabilities,
    prctl,
    set_autogroup_niceness,
    syscall,
)
from hashscan.sandbox.protocol import DECODER_SOCKET, EXIT_ORPHANED, ConfinementResult

# The numbers are the same on every architecture, like those of all system calls since Linux 5.1.
_CREATE_RULESET = 444
_RESTRICT_SELF = 446
_ASK_VERSION = 1


class _RulesetAttributes(ctypes.Structure):
    _fields_ = [("filesystem", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64)]


class LandlockRights(NamedTuple):
    """All rights that this kernel can remove, as bit masks."""

    version: int
    """The ABI version the kernel reports."""
    filesystem: int
    network: int
    """Network rights; 0 before ABI version 4."""
    scopes: int
    """Abstract sockets and signals; 0 before ABI version 6."""


def _create_ruleset(filesystem: int, network: int, scopes: int) -> int:
    attributes = _RulesetAttributes(filesystem, network, scopes)
    return syscall(_CREATE_RULESET, ctypes.addressof(attributes), ctypes.sizeof(attributes), 0)


def _handled(filesystem: int = 0, network: int = 0, scopes: int = 0) -> bool:
    try:
        os.close(_create_ruleset(filesystem, network, scopes))
    except OSError as error:
        # EINVAL: the bit is unknown. E2BIG: the kernel's structure ends before this field.
        if error.errno in (errno.EINVAL, errno.E2BIG):
            return False
        raise
    return True


def supported_landlock_rights() -> LandlockRights:
    """Ask the kernel bit by bit which rights it can remove.

    A table of versions would leave out rights that kernels learn after it was written. No right that can be
    removed without a rule is useful to a decoder.
    """
    version = syscall(_CREATE_RULESET, 0, 0, _ASK_VERSION)
    bits = [1 << position for position in range(64)]
    return LandlockRights(
        version,
        filesystem=sum(bit for bit in bits if _handled(filesystem=bit)),
        network=sum(bit for bit in bits if _handled(network=bit)),
        scopes=sum(bit for bit in bits if _handled(scopes=bit)),
    )


def restrict_with_landlock(rights: LandlockRights) -> None:
    """Deny this thread all of `rights`, permanently; PR_SET_NO_NEW_PRIVS must be set before."""
    ruleset = _create_ruleset(rights.filesystem, rights.network, rights.scopes)
    try:
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


NOBODY = 65534
"""A user id that owns nothing on any system; it is the kernel's own overflow uid and gid."""

ZYGOTE_DESCRIPTORS = 256
"""Limit for descriptor numbers: the zygote can't open one of this number or above, so a decoder knows which
ones to close."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_CAP_KILL = 1 << 5
_CAP_SETGID = 1 << 6
_CAP_SETUID = 1 << 7
_CAP_SETPCAP = 1 << 8

_SWITCHED_OFF = errno.ECANCELED


class Confinement(Struct, frozen=True):
    """The confinement that the zygote has prepared for all its decoders; an errno for each missing part."""

    mode: str
    zygote: int
    memory_bytes: int
    cpu_seconds: int
    rights: LandlockRights | int
    program: bytes | int
    loading_program: bytes | int = _SWITCHED_OFF
    """The filter of system calls under which libraries are loaded, before `program`."""


def prepare_confinement(
    mode: str, memory_bytes: int, cpu_seconds: int, library: str, *, loading: bool = False
) -> Confinement:
    """Prepare in the zygote what decoders will use: with Landlock active, no library can be loaded.

    The zygote's own capability bounding set is dropped, which decoders inherit: the zygote executes nothing.
    """
    rights: LandlockRights | int = _SWITCHED_OFF
    program: bytes | int = _SWITCHED_OFF
    loading_program: bytes | int = _SWITCHED_OFF
    if mode != "off":
        _errno(_drop_bounding_set)
        try:
            rights = supported_landlock_rights()
        except OSError as error:
            rights = error.errno or errno.ENOSYS
        try:
            program = seccomp.compile_filter(DECODER_SOCKET, library)
            if loading:
                loading_program = seccomp.compile_filter(DECODER_SOCKET, library, loading=True)
        except OSError as error:
            # A library that can't be loaded raises OSError without an errno.
            program = loading_program = error.errno or errno.ENOENT
    return Confinement(mode, os.getpid(), memory_bytes, cpu_seconds, rights, program, loading_program)


def close_other_descriptors(descriptor: int, sample: int = -1, libraries: int = 0) -> None:
    """Duplicate `descriptor` to the number `DECODER_SOCKET`, and the sample to the number after that, if
    there is one; close all others but the copies of libraries."""
    os.dup2(descriptor, DECODER_SOCKET, inheritable=False)
    last = DECODER_SOCKET
    if sample >= 0:
        last += 1
        os.dup2(sample, last, inheritable=False)
    os.closerange(0, DECODER_SOCKET)
    os.closerange(last + 1, FIRST_DESCRIPTOR)
    os.closerange(FIRST_DESCRIPTOR + libraries, ZYGOTE_DESCRIPTORS)


def confine(confinement: Confinement, load: Callable[[], None] | None = None) -> ConfinementResult:
    """Confine this process permanently, and return the parts that are active; the worker decides whether that
    is enough. Each part is tried even if earlier parts failed; Landlock and seccomp come last, because they
    would prevent the other parts. `load` loads libraries, whose constructors run then. It is called when
    everything is in force but for the last filter of system calls: in its place there is one that allows to
    open files for reading, which Landlock refuses, and to map them as programs. The copies of the libraries
    are in memory, where Landlock has no say. It is not called if the full sandbox is required and cannot be
    had."""
    os.setsid()
    set_autogroup_niceness()
    on = confinement.mode != "off"
    limits = _errno(lambda: _limit(confinement.memory_bytes, confinement.cpu_seconds))
    uid = dropped = _SWITCHED_OFF
    if on:
        held = capabilities()[0]
        uid = _errno(lambda: _become_nobody(held))
        dropped = _errno(_drop_capabilities)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # Neither a tracer with the same uid nor a core dump may see a picture.
    prctl(_PR_SET_DUMPABLE, 0)
    # Set it after the change of uid, which clears it.
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != confinement.zygote:
        os._exit(EXIT_ORPHANED)
    rights, program = confinement.rights, confinement.program
    shut = rights if isinstance(rights, int) else _errno(lambda: restrict_with_landlock(rights))
    version = 0 if isinstance(rights, int) else rights.version
    if load is not None:
        first = confinement.loading_program
        loading = first if isinstance(first, int) else _errno(lambda: seccomp.install(first))
        before = ConfinementResult(version, shut, loading, uid, dropped, limits)
        if confinement.mode == "required" and not before.level("required").full:
            # It will be refused, so that no constructor may run.
            return before
        load()
    filtered = program if isinstance(program, int) else _errno(lambda: seccomp.install(program))
    return ConfinementResult(version, shut, filtered, uid, dropped, limits)


def _errno(step: Callable[[], None]) -> int:
    try:
        step()
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
        _lower(limit, 0)
    _lower(resource.RLIMIT_NOFILE, DECODER_SOCKET + 1)
    # For all files of the decoder together. The worker limits single files; this limit works even if the
    # worker is stopped.
    _lower(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)
    # Address space that the zygote has mapped counts, even if unused: OpenBLAS alone reserves tens of
    # megabytes.
    with open("/proc/self/statm", "rb", buffering=0) as statm:
        mapped = int(statm.read(64).split()[0]) * resource.getpagesize()
    _lower(resource.RLIMIT_AS, mapped + memory_bytes)


def _lower(limit: int, soft: int, hard: int | None = None) -> None:
    allowed = resource.getrlimit(limit)[1]
    hard = soft if hard is None else hard
    if allowed != resource.RLIM_INFINITY:
        hard = min(hard, allowed)
    resource.setrlimit(limit, (min(soft, hard), hard))


def _drop_bounding_set() -> None:
    if not capabilities()[0] & _CAP_SETPCAP:
        # Without the right to drop it, PR_SET_NO_NEW_PRIVS alone ensures that the set is never used.
        return
    for capability in range(64):
        try:
            if prctl(_PR_CAPBSET_READ, capability):
                prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:
                # The number after the last capability that this kernel knows.
                return
            raise


def _become_nobody(held: int) -> None:
    needed = _CAP_SETUID | _CAP_SETGID | _CAP_KILL
    if os.geteuid() != 0 or held & needed != needed:
        # Root without CAP_KILL, which systemd can set up, couldn't end a decoder of another uid.
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _drop_capabilities() -> None:
    try:
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError as error:
        # EINVAL: a kernel before 4.3, without ambient capabilities.
        if error.errno != errno.EINVAL:
            raise
    clear_capabilities()
    if any(capabilities()):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
