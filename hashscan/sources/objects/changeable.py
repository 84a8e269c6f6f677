"""Open object stores in which the quarantine can create and delete objects."""

from __future__ import annotations

from hashscan.model import Access
from hashscan.sources.objects.changing import ChangeableStore


def make_changeable(source: str, container: str, access: Access) -> ChangeableStore:
    """Return the store of a container; import the provider's libraries only now.

    Args:
        source: name of the kind of store.
        container: name of the container.
        access: how to reach it.

    Raises:
        TargetError: a library or credentials are missing.
    """
    match source:
        case "s3":
            from hashscan.sources.objects.s3_changing import ChangeableS3Store

            return ChangeableS3Store(container, access)
        case "gs":
            from hashscan.sources.objects.gs import clients_of as google_clients
            from hashscan.sources.objects.gs_changing import ChangeableGoogleStore

            return ChangeableGoogleStore(container, google_clients(container, access, changing=True))
        case "az":
            from hashscan.sources.objects.az import clients_of as azure_clients
            from hashscan.sources.objects.az_changing import ChangeableAzureStore

            return ChangeableAzureStore(azure_clients(container, access))
    raise ValueError(source)
