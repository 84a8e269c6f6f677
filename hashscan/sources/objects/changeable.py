"""Opens containers in which objects may be made and deleted."""

from __future__ import annotations

from hashscan.model import Access
from hashscan.sources.objects.changing import ChangeableStore


def make_changeable(source: str, container: str, access: Access) -> ChangeableStore:
    """The store of a container; what its provider needs is loaded only now.

    Args:
        source: the name of its kind of store.
        container: its name.
        access: how it is reached.

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
