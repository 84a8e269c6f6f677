"""Read files of secrets: tokens, logins, keys, addresses with passwords; credentials for connections.

One rule holds for all of them: nobody but its owner may read or write such a file, and the group of a file
that belongs to root may read it, since a service must read what root has written for it (`root:hashscan`,
mode 640; `root:ssl-cert` on Debian). The owner is root or the user who runs hashscan, as PostgreSQL demands
it for its key: root reads no other user's file, which a customer could have put in its place.

The open file is checked, so it does not matter if another one gets its name, or if a link leads to it.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hashscan.errors import UsageError

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_MAX = 1 << 16
"""The largest size of most such files in bytes."""


def read_secret(path: Path, what: str, most: int = SECRET_MAX) -> bytes:
    """Return the content of a file of secrets, of at most so many bytes; `what` names it in error messages.

    Raises:
        UsageError: there is no such file, or it is accessible to others, another user's, too long or not
            readable.
    """
    try:
        # Non-blocking, because it may be a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{what}: {path} is not a regular file", advice="Name a regular file.")
            if status.st_uid not in {0, os.geteuid()}:
                raise UsageError(
                    f"{what}: {path} belongs to another user (uid {status.st_uid})",
                    advice=f"If it can still be trusted: chown {os.geteuid()} {path}",
                )
            if _is_exposed(status):
                raise UsageError(
                    f"{what}: others than its owner may read or write {path}",
                    advice=f"If it can still be trusted: chmod 600 {path} (640 if it is root's, for its "
                    "group; a filesystem without permissions can be mounted with umask=077)",
                )
            data = stream.read(most + 1)
    except OSError as error:
        raise UsageError(
            f"{what}: {path} can't be read: {error.strerror}", advice="Name a file this user may read."
        ) from error
    if len(data) > most:
        raise UsageError(f"{what}: {path} is longer than {most} bytes", advice="Name the right file.")
    return data


def secret_lines(path: Path, what: str) -> tuple[str, ...]:
    """Return the lines of a text file of secrets; empty ones and those that begin with `#` are left out.

    Raises:
        UsageError: as `read_secret`, or it is not a text file.
    """
    try:
        text = read_secret(path, what).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{what}: {path} is not a text file", advice="Name the right file.") from None
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return numbers that change with a file's content, owner and rights; empty if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_exposed(status: os.stat_result) -> bool:
    allowed = stat.S_IRGRP if status.st_uid == 0 else 0
    return bool(status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~allowed)


@dataclass(frozen=True, slots=True)
class CredentialSources:
    """The places of the credentials for one list; None if not used."""

    token_file: str | None = None
    """File whose first line is a bearer token."""
    token_variable: str | None = None
    """Name of the environment variable that contains the token."""
    login_file: str | None = None
    """File whose first line is a user, a colon and a password."""
    login_variable: str | None = None
    certificate: str | None = None
    """PEM file of the client certificate for mutual TLS."""
    key: str | None = None
    """PEM file of the certificate's key, not encrypted; None if it is in the certificate's file."""

    def __post_init__(self) -> None:
        if sum(map(bool, self.authorizations)) > 1:
            raise UsageError(
                "one list can't have two tokens or logins",
                advice="Name one of --token-file, --token-variable, --login-file and --login-variable.",
            )
        if self.key and not self.certificate:
            raise UsageError(
                "there is a key but no certificate", advice="Name --client-certificate with --client-key."
            )
        for name in (self.token_variable, self.login_variable):
            if name and not _VARIABLE.fullmatch(name):
                raise UsageError(
                    "a credential's variable is not named as one",
                    advice="Give the variable's name, never the secret itself.",
                )

    @property
    def authorizations(self) -> tuple[str | None, ...]:
        """The places of the credentials for the Authorization header."""
        return self.token_file, self.token_variable, self.login_file, self.login_variable

    @property
    def any(self) -> bool:
        """True if there are credentials of any kind."""
        return any((*self.authorizations, self.certificate))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials as they were read."""

    authorization: str | None = field(default=None, repr=False)
    """Value of the Authorization header."""
    certificate: str | None = None
    key: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Texts that must never be shown."""

    def hidden(self, text: str) -> str:
        """Return the text with all secrets masked, in case a server has sent one back."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def read_credentials(places: CredentialSources, environ: Mapping[str, str]) -> Credentials:
    """Read the credentials for a pull.

    Raises:
        UsageError: a credential is missing, can't be read, is accessible to others, or is not valid.
    """
    if places.certificate:
        # The file with the key must be private; a certificate alone may be readable by all.
        read_secret(Path(places.key or places.certificate), "the client key")
    authorization: str | None = None
    secrets: tuple[str, ...] = ()
    token = _secret(places.token_file, places.token_variable, environ, "the token")
    if token is not None:
        if not _TOKEN.fullmatch(token):
            raise UsageError(
                "the token is empty or holds characters that no token has",
                advice="Its place must hold the token alone, on the first line.",
            )
        authorization, secrets = f"Bearer {token}", (token,)
    login = _secret(places.login_file, places.login_variable, environ, "the login")
    if login is not None:
        user, _, password = login.partition(":")
        if not user or not password:
            raise UsageError(
                "the login is not a user, a colon and a password",
                advice="Its place must hold USER:PASSWORD, on the first line.",
            )
        encoded = base64.b64encode(login.encode("utf-8", "surrogateescape")).decode("ascii")
        authorization, secrets = f"Basic {encoded}", (encoded, login, password)
    return Credentials(authorization, places.certificate, places.key, secrets)


def _secret(file: str | None, variable: str | None, environ: Mapping[str, str], what: str) -> str | None:
    """Return the first line of a private file, or a variable's value; None if neither is named."""
    if file:
        line = read_secret(Path(file), what).split(b"\n")[0].rstrip(b"\r")
        return line.decode("utf-8", "surrogateescape")
    if variable and not environ.get(variable):
        raise UsageError(
            f"{what} should be in the environment variable {variable}, which is not set",
            advice="Set it for this command, or add the list again with other credentials.",
        )
    return environ[variable] if variable else None


def secret_text(file: str, variable: str, what: str) -> str:
    """Return the first line of a private file, or a variable's value, which is not empty.

    Raises:
        UsageError: as `read_secret`, or it is empty or not text, or the variable is not set.
    """
    try:
        found = (_secret(file, variable, os.environ, what) or "").encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError:
        found = ""
    if not found or not found.isprintable():
        raise UsageError(f"{what} is empty, or no line of text", advice=f"Check {file or variable}.")
    return found
