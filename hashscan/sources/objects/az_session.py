"""Sends requests to the addresses they were made for.

Importing this module imports requests, which Azure's library brings along, so others do so on first use.
"""

from __future__ import annotations

import requests


class PlainSession(requests.Session):
    """Leaves addresses as they are.

    requests takes `x/../y` for `y`: with a signature for the whole container another blob would be read
    than was listed, so that a strange key could hide what it holds.
    """

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare a request, whose address Azure's library has escaped already."""
        prepared = super().prepare_request(request)
        prepared.url = str(request.url)
        return prepared
