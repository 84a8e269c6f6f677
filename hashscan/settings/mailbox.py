"""Read the settings of the mailbox that receives notices (the table `[mailbox]`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from msgspec import Struct

from hashscan.errors import UsageError
from hashscan.secret_files import secret_text
from hashscan.settings.table_rows import InvalidValueError, Reader, printable_line, read_row
from hashscan.settings.values import parse_size
from hashscan.web_address import parse
from hashscan.web_connection import WEB, checked_location, is_loopback

_TEXT_MAX = 500
_PORT_MAX = 65_535
_PORTS = {"implicit": 993, "starttls": 143, "none": 143}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
MOVE = "move:"
MAIL_MAX = 32 << 20


class Secret(Struct, frozen=True):
    """The place of a secret; both are empty if there is none."""

    file: str = ""
    variable: str = ""

    def __bool__(self) -> bool:
        return bool(self.file or self.variable)

    def read(self, what: str) -> str:
        """Return the secret, which is the first line of its place; `what` names it in error messages.

        Raises:
            UsageError: it is missing, empty, not text, or accessible to others.
        """
        return secret_text(self.file, self.variable, what)


class OAuthSettings(Struct, frozen=True):
    """The place where access tokens are got (RFC 6749, section 6)."""

    token_url: str
    client_id: str
    refresh_token: Secret
    client_secret: Secret = Secret()
    scope: str = ""


class MailboxSettings(Struct, frozen=True):
    """A folder of an IMAP server, and the login."""

    host: str
    user: str
    port: int
    tls: str
    """`implicit`, `starttls`, or `none`, which only a server on this machine may have."""
    ca_file: str | None = None
    """The only authorities of the certificates (PEM), also of that of the token endpoint."""
    folder: str = "INBOX"
    password: Secret = Secret()
    oauth: OAuthSettings | None = None
    """None to log in by the password."""
    after: str = "keep"
    """Change of mails whose notices are imported: `keep` for none, `seen`, or `move:` and a folder."""
    max_size: int = MAIL_MAX
    """Size in bytes above which a mail is not read."""

    @property
    def name(self) -> str:
        """The name by which the ledger knows the mailbox."""
        return f"{self.user}@{self.host}:{self.port}/{self.folder}"


def mailbox_of(table: object, source: str) -> MailboxSettings:
    """Return the mailbox from the table of a settings file.

    Raises:
        UsageError: it can't be used; names the key and what to do.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{source}: `mailbox` is no table", advice="Begin it with a line [mailbox].")
    where = f"{source}, [mailbox]"
    found = read_row(table, _READERS, where, required=("host", "user"))
    tls = found.setdefault("tls", "implicit")
    found.setdefault("port", _PORTS[tls])
    if tls == "none" and not is_loopback(found["host"]):
        raise UsageError(
            f"{where}: the login would travel to {found['host']} in the clear",
            advice='Set tls to "implicit" or "starttls".',
        )
    password = _taken_secret(found, "password", where)
    refresh = _taken_secret(found, "refresh_token", where)
    client_secret = _taken_secret(found, "client_secret", where)
    url, client_id, scope = (found.pop(key, "") for key in ("token_url", "client_id", "scope"))
    if bool(password) == bool(url):
        raise UsageError(
            f"{where}: it needs a password or a token_url, and not both",
            advice="Add password_file; for OAuth2, add token_url, client_id and refresh_token_file.",
        )
    if not url and (refresh or client_id or client_secret or scope):
        raise UsageError(f"{where}: OAuth2 needs a token_url", advice="Add it.")
    if url and not (client_id and refresh):
        raise UsageError(
            f"{where}: OAuth2 needs client_id and a refresh token",
            advice="Add client_id, refresh_token_file.",
        )
    oauth = OAuthSettings(url, client_id, refresh, client_secret, scope) if url else None
    return MailboxSettings(password=password, oauth=oauth, **found)


def _taken_secret(found: dict[str, Any], name: str, where: str) -> Secret:
    secret = Secret(found.pop(f"{name}_file", ""), found.pop(f"{name}_variable", ""))
    if secret.file and secret.variable:
        raise UsageError(
            f"{where}: both {name}_file and {name}_variable are set", advice="Leave out one of them."
        )
    return secret


def _line(value: object) -> str:
    found = printable_line(value, _TEXT_MAX)
    if not found or not found.isascii():
        raise InvalidValueError(f"{found!r} is not permitted there", "Write printable ASCII.")
    return found


def _host(value: object) -> str:
    found = _line(value)
    if not re.fullmatch(r"[A-Za-z0-9.:-]+", found):
        raise InvalidValueError(f"{found!r} is no host", "Write one such as imap.example.org.")
    return found.lower()


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _PORT_MAX:
        raise InvalidValueError(f"{value!r} is no port", "Write one such as 993.")
    return value


def _tls(value: object) -> str:
    if value not in _PORTS:
        raise InvalidValueError(f"{value!r} is not known", f"Write one of {', '.join(_PORTS)}.")
    return str(value)


def _after(value: object) -> str:
    found = _line(value)
    if found not in {"keep", "seen"} and not (found.startswith(MOVE) and found != MOVE):
        raise InvalidValueError(f"{found!r} is not known", 'Write "keep", "seen" or "move:FOLDER".')
    return found


def _token_url(value: object) -> str:
    found = _line(value)
    if not found.startswith(WEB):
        raise InvalidValueError(f"{found!r} is no web address", "Write the provider's token endpoint.")
    checked = checked_location(found)
    scheme, host, _ = parse(checked.encode()).endpoint
    if scheme != "https" and not is_loopback(host):
        raise InvalidValueError(f"a token would travel to {host} in the clear", "Give an https address.")
    return checked if found.endswith("/") else checked.rstrip("/")


def _file(value: object) -> str:
    found = printable_line(value, _TEXT_MAX)
    if not Path(found).is_absolute():
        raise InvalidValueError(f"{found!r} is not an absolute path", "Begin it with a slash.")
    return found


def _variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise InvalidValueError("it is no name of a variable", "Name a variable, never the secret itself.")
    return value


def _size(value: object) -> int:
    if not isinstance(value, str):
        raise InvalidValueError(f"{value!r} is no size", "Write one such as '32M'.")
    found = parse_size(value)
    if not 0 < found <= MAIL_MAX:
        raise InvalidValueError(f"{value!r} is not permitted", f"Write at most {MAIL_MAX >> 20}M.")
    return found


_READERS: dict[str, Reader] = {
    "host": _host,
    "user": _line,
    "port": _port,
    "tls": _tls,
    "ca_file": _file,
    "folder": _line,
    "password_file": _file,
    "password_variable": _variable,
    "token_url": _token_url,
    "client_id": _line,
    "client_secret_file": _file,
    "client_secret_variable": _variable,
    "refresh_token_file": _file,
    "refresh_token_variable": _variable,
    "scope": _line,
    "after": _after,
    "max_size": _size,
}
KEYS = tuple(_READERS)
