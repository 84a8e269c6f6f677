"""The shared Dask setup of client and nodes: the import, the configuration and mutual TLS."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.errors import UsageError
from hashscan.secret_files import read_secret
from hashscan.settings.resources import ClusterSettings

if TYPE_CHECKING:
    from distributed import Security


def require_dask(log_level: str = "critical") -> None:
    """Import Dask, and set the configuration that hashscan needs everywhere."""
    try:
        _configure(log_level)
        # It reads its log settings at import.
        import distributed  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"a cluster needs Dask, which can't be imported: {error}",
            advice="Install it with `pip install 'hashscan[dask]'`, on every machine in the same version.",
        ) from error
    # It logs at length every message that can't be read; such a message excludes a node, which we report.
    logging.getLogger("distributed.protocol").setLevel(logging.CRITICAL + 1)


def _configure(log_level: str) -> None:
    import dask

    dask.config.set(
        {
            "logging": dict.fromkeys(("distributed", "distributed.client", "distributed.worker"), log_level),
            # A node's processes read their own settings for it, before they receive these.
            "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": log_level,
            # It samples the stack a hundred times a second, for a dashboard that doesn't exist.
            "distributed.worker.profile.enabled": False,
            # A node serves no pages.
            "distributed.worker.http.routes": [],
            # Mapped lists count as memory; Dask would pause a worker without reason.
            "distributed.worker.memory.target": False,
            "distributed.worker.memory.spill": False,
            "distributed.worker.memory.pause": False,
            "distributed.worker.memory.terminate": False,
            # A task's answer must come from the worker that it was sent to.
            "distributed.scheduler.work-stealing": False,
            "distributed.comm.tls.min-version": 1.3,
        }
    )


def message_of(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def security_of(cluster: ClusterSettings) -> Security:
    """Return the TLS configuration of the cluster's connections.

    Both sides show certificates, or there is no encryption.
    """
    from distributed import Security

    if cluster.ca is None or cluster.cert is None or cluster.key is None:
        return Security(require_encryption=False)
    _check_files(cluster.ca, cluster.cert, cluster.key)
    ca, cert, key = (str(path.absolute()) for path in (cluster.ca, cluster.cert, cluster.key))
    return Security(
        require_encryption=True,
        tls_ca_file=ca,
        tls_client_cert=cert,
        tls_client_key=key,
        tls_worker_cert=cert,
        tls_worker_key=key,
        # No process here is a scheduler; but Dask requires a scheduler's files wherever it requires the
        # others.
        tls_scheduler_cert=cert,
        tls_scheduler_key=key,
    )


def _check_files(ca: Path, cert: Path, key: Path) -> None:
    for path in (ca, cert):
        try:
            path.open("rb").close()
        except OSError as error:
            raise UsageError(f"can't read {path}: {error.strerror}", advice="Name a PEM file.") from error
    read_secret(key, "the cluster's key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca)
        # A key with a passphrase is refused: Dask would ask for it on the terminal.
        context.load_cert_chain(cert, key, password=_refuse_passphrase)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{ca}, {cert} and {key} can't be used for TLS: {error}",
            advice="Name PEM files: the authority's certificate, this machine's, a key without passphrase.",
        ) from error


def _refuse_passphrase() -> str:
    raise ValueError("the key has a passphrase")
