"""Send HTTP requests without normalizing their URLs.

Importing this module imports requests, a dependency of Azure's library, so other modules import it at the
first use.
"""

from __future__ import annotations

import requests


class PlainSession(requests.Session):
    """A session of requests that does not change URLs.

    requests replaces `x/../y` by `y`: with a signature for the whole container, another blob would be read
    than was listed, so that a special key could hide its content.
    """

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare a request; Azure's library has already escaped its URL."""
        prepared = super().prepare_request(request)
        prepared.url = str(request.url)
        return prepared
