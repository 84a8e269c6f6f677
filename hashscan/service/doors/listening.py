"""Open the sockets that doors listen at, and check which clients may connect."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

from hashscan.errors import OutputError, UsageError
from hashscan.settings.service import DoorSettings, TcpAddress, UnixAddress

_BACKLOG = 1024
_CONNECT_SECONDS = 2.0
_PEER = struct.Struct("=iII")
_SO_PEERGROUPS = 59  # asm-generic/socket.h; on all architectures but Alpha, MIPS, PA-RISC and SPARC
_GROUPS_MAX = 65536

_libc = ctypes.CDLL(None, use_errno=True)

Network = IPv4Network | IPv6Network


class Listener:
    """A socket that listens, and its file, if it is a Unix socket that this process has made."""

    def __init__(self, sock: socket.socket, path: bytes = b"") -> None:
        self.socket = sock
        self._path = path
        self._identity = _identity(path) if path else None

    @property
    def address(self) -> UnixAddress | TcpAddress:
        """The address that the system has given it."""
        name = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return UnixAddress(Path(os.fsdecode(name)))
        return TcpAddress(name[0], name[1])

    def close(self) -> None:
        """Close the socket, and remove its file, if nothing else has its name now."""
        self.socket.close()
        with suppress(OSError):
            if self._path and _identity(self._path) == self._identity:
                os.unlink(self._path)


def open_listener(settings: DoorSettings, inherited: socket.socket | None = None) -> Listener:
    """Listen at a door's address, or take over the socket that the service manager has opened."""
    if inherited is not None:
        _require_listening(inherited, settings)
        inherited.setblocking(False)
        return Listener(inherited)
    address = settings.address
    where = describe(address)
    try:
        if isinstance(address, UnixAddress):
            return _listen_unix(address)
        return _listen_tcp(address, settings.allow)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
            raise OutputError(f"can't listen at {where}: {reason}") from error
        raise UsageError(
            f"can't listen at {where}: {reason}", advice="Give an address that this user may listen at."
        ) from error


def describe(address: UnixAddress | TcpAddress) -> str:
    """Return an address as its option has it."""
    if isinstance(address, UnixAddress):
        return f"unix:{address.path}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"tcp:{host}:{address.port}"


def require_allowed(address: TcpAddress, allow: Sequence[Network]) -> IPv4Address | IPv6Address:
    """Return the address to listen at, if it is of loopback or a network is allowed."""
    try:
        host = ip_address(address.host)
    except ValueError as error:
        raise UsageError(
            f"{describe(address)}: not an IP address", advice="Names are not resolved; give an address."
        ) from error
    if not host.is_loopback and not allow:
        raise UsageError(
            f"{describe(address)} is reachable from other machines, and no network is allowed",
            advice="Allow the clients' network (--allow), or listen at 127.0.0.1 or a Unix socket.",
        )
    return host


def may_connect(host: str, allow: Sequence[Network]) -> bool:
    """Return True if a client with this address may connect: from loopback, or from an allowed network."""
    try:
        client = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(client, IPv6Address) and client.ipv4_mapped is not None:
        client = client.ipv4_mapped
    return client.is_loopback or any(client in network for network in allow)


def peer(sock: socket.socket) -> tuple[int, int, int]:
    """Return process id, uid and gid of the client of a Unix socket, as of when it connected."""
    pid, uid, gid = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return pid, uid, gid


def peer_groups(sock: socket.socket) -> tuple[int, ...]:
    """Return the supplementary groups of the client of a Unix socket, as of when it connected."""
    # The socket module returns at most 1,024 bytes.
    groups = (ctypes.c_uint32 * _GROUPS_MAX)()
    size = ctypes.c_uint32(ctypes.sizeof(groups))
    arguments = (sock.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, groups, ctypes.byref(size))
    if _libc.getsockopt(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return tuple(groups[: size.value // ctypes.sizeof(ctypes.c_uint32)])


def _require_listening(sock: socket.socket, settings: DoorSettings) -> None:
    where = describe(settings.address)
    is_unix = sock.family == socket.AF_UNIX
    if sock.type != socket.SOCK_STREAM or not (is_unix or sock.family in (socket.AF_INET, socket.AF_INET6)):
        raise UsageError(f"the inherited socket for {where} is no stream socket", advice="See ListenStream=.")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise UsageError(f"the inherited socket for {where} does not listen", advice="Set Accept=no.")
    if is_unix != isinstance(settings.address, UnixAddress):
        raise UsageError(f"the inherited socket for {where} is of another family")
    if not is_unix:
        name = sock.getsockname()
        require_allowed(TcpAddress(name[0], name[1]), settings.allow)


def _listen_tcp(address: TcpAddress, allow: Sequence[Network]) -> Listener:
    host = require_allowed(address, allow)
    family = socket.AF_INET6 if isinstance(host, IPv6Address) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return Listener(sock)


def _listen_unix(address: UnixAddress) -> Listener:
    path = os.fsencode(address.path)
    _remove_stale(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # The file gets the mode that the socket has when it is bound, so it never exists with another one,
        # and no path is followed to change it afterwards.
        os.fchmod(sock.fileno(), address.mode)
        mask = os.umask(0)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        listener = Listener(sock, path)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return listener


def _remove_stale(address: UnixAddress) -> None:
    """Remove the socket of a server that has ended; nothing else."""
    path = os.fsencode(address.path)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    where = describe(address)
    if not stat.S_ISSOCK(status.st_mode):
        raise UsageError(
            f"can't listen at {where}: there is something else than a socket", advice="Give another path."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if _identity(path) == (status.st_dev, status.st_ino):
                os.unlink(path)
            return
        except TimeoutError:
            pass  # its queue is full, so another process listens
    raise UsageError(
        f"can't listen at {where}: another process listens there",
        advice="Stop it, or give another path.",
    )


def _identity(path: bytes) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
