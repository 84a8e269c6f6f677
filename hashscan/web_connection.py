"""Check the settings of connections to servers: addresses, proxies, TLS."""

from __future__ import annotations

import ipaddress
import os
import ssl
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from hashscan.errors import UsageError
from hashscan.web_address import DEFAULT_PORTS, UrlParts, split_url

WEB = ("https://", "http://")
"""Prefixes of a source on a web server; any other source is a folder."""


def checked_location(source: str) -> str:
    """Return a source in its stored form: a web address with a slash at its end, or an absolute path.

    Raises:
        UsageError: the source is neither.
    """
    advice = "Give an https address or a folder, with metadata/ and targets/ in it."
    if not source:
        raise UsageError("the list has no address", advice=advice)
    if "://" not in source:
        return _existing_folder(Path(source), advice)
    address = _split_checked(source, "the address of a list", advice)
    if address.scheme == "file" and address.host in {"", "localhost"} and address.port is None:
        return _existing_folder(Path(os.fsdecode(unquote_to_bytes(address.path))), advice)
    if address.scheme not in DEFAULT_PORTS or not address.host:
        raise UsageError(f"lists can't be pulled from {source!r}", advice=advice)
    # In lower case, since the scheme decides later how the list is fetched.
    source = address.scheme + source[len(address.scheme) :]
    return source if source.endswith("/") else f"{source}/"


def checked_proxy(proxy: str) -> str:
    """Return the address of a proxy for web requests in its normal form.

    Raises:
        UsageError: the address is not a usable proxy.
    """
    advice = "Give it as http://HOST:PORT or https://HOST:PORT."
    address = _split_checked(proxy, "the address of a proxy", advice)
    if address.scheme not in DEFAULT_PORTS or not address.host or address.path not in {b"", b"/"}:
        raise UsageError(f"{proxy!r} is no proxy that can be used", advice=advice)
    return f"{address.scheme}://{address.host}{'' if address.port is None else f':{address.port}'}"


def proxy_and_login(proxy: str) -> tuple[str, str]:
    """Return a proxy's address without user and password, and these; UsageError if it can't be used."""
    try:
        login = (split_url(proxy.encode()).user or b"").decode()
        return checked_proxy(proxy.replace(f"{login}@", "", 1)), unquote(login)
    except (UsageError, ValueError) as error:
        raise UsageError(
            "the proxy of the environment can't be used",
            advice="Set http_proxy and https_proxy, or unset them.",
        ) from error


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine, so that no connection to it can be intercepted on a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment_proxy(scheme: str, host: str) -> str | None:
    """Return the environment's proxy for a host; None if there is none, and always for this machine."""
    import urllib.request

    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(scheme) or proxies.get("all")


def _split_checked(text: str, what: str, advice: str) -> UrlParts:
    """Split an address into its parts; a user or password in it is refused without repeating it."""
    try:
        address = split_url(text.encode("utf-8"))
    except ValueError as error:
        raise UsageError(f"{what} can't be understood", advice=advice) from error
    if address.port == 0:
        raise UsageError(f"{what} can't have port 0", advice=advice)
    if not address.host.isascii():
        raise UsageError(f"{what} must have its host in ASCII, such as xn--...", advice=advice)
    if address.user is not None or address.query or address.fragment or not text.isprintable() or " " in text:
        raise UsageError(
            f"{what} can't hold a user or password, a question mark, a hash sign or spaces",
            advice=f"{advice} Credentials go into files of their own.",
        )
    return address


def _existing_folder(folder: Path, advice: str) -> str:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}", advice=advice)
    return str(folder.absolute())


def tls_context(
    ca_file: str | None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Return settings for connections: TLS 1.2 or later, with certificate and host name checked.

    Args:
        ca_file: the only trusted authorities; None uses the system's.
        certificate: client certificate, sent to servers that ask for one.
        key: key of the certificate; None if both are in one file.

    Raises:
        UsageError: a file can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is an OSError too
        raise UsageError(
            f"{ca_file} holds no certificates that can be used: {error.strerror}",
            advice="Name a PEM file of the authority that certifies the list's server.",
        ) from error
    if certificate:
        try:
            # Otherwise OpenSSL would ask for the password of an encrypted key at the terminal, and cron has
            # none.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ValueError) as error:
            message = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"the client certificate {certificate} can't be used with its key: {message}",
                advice="Name PEM files of a certificate and of its own key, which must not be encrypted.",
            ) from error
    return context
