"""A Django upload handler that has hashscan check each file before the view gets it.

    # settings.py
    FILE_UPLOAD_HANDLERS = [
        "hashscan_upload.HashscanUploadHandler",
        "django.core.files.uploadhandler.TemporaryFileUploadHandler",
    ]
    HASHSCAN_URL = "http://127.0.0.1:8086"
    HASHSCAN_KEY = ""  # with --http-keys: a key with the right `scan`

A refused file ends the request with 403; one that can't be checked raises `UploadNotChecked`, a 500, so that
nothing is stored unchecked. Files are sent to hashscan while they arrive. Put the handler first: those behind
it keep the file, in memory or in FILE_UPLOAD_TEMP_DIR, until it is checked.

Only the files of forms are checked. A view that takes a file as the whole body (`request.body`), or in a text
field, must ask hashscan itself.
"""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.files.uploadhandler import FileUploadHandler

SECONDS = 60


class UploadRefused(PermissionDenied):
    """A file that hashscan refuses; the text has the reference of the case."""


class UploadNotChecked(Exception):
    """A file that could not be checked; the client should try again later."""


class HashscanUploadHandler(FileUploadHandler):
    """Sends each file to hashscan while it arrives, and refuses what hashscan refuses."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a request to hashscan."""
        super().new_file(*args, **kwargs)
        address = urlsplit(settings.HASHSCAN_URL)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(address.netloc, timeout=SECONDS)
        try:
            self.connection.putrequest("POST", f"/v1/scan?name={quote(self.file_name or '')[:900]}")
            self.connection.putheader("Content-Type", "application/octet-stream")
            self.connection.putheader("Transfer-Encoding", "chunked")
            if getattr(settings, "HASHSCAN_KEY", ""):
                self.connection.putheader("Authorization", f"Bearer {settings.HASHSCAN_KEY}")
            self.connection.endheaders()
        except OSError as error:
            raise UploadNotChecked(f"hashscan can't be reached: {error}") from error

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Send a piece of the file, and hand it to the next handler."""
        if not raw_data:
            return raw_data  # base64 of other characters alone; a chunk without bytes would end the file here
        try:
            self.connection.send(b"%x\r\n%b\r\n" % (len(raw_data), raw_data))
        except OSError as error:
            raise UploadNotChecked(f"hashscan has closed the connection: {error}") from error
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Wait for the answer, and let the next handler complete the file if it is allowed."""
        try:
            self.connection.send(b"0\r\n\r\n")
            response = self.connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UploadNotChecked(f"hashscan gives no answer: {error}") from error
        finally:
            self.connection.close()
        if response.status != 200 or answer.get("outcome") not in ("allow", "refuse"):
            raise UploadNotChecked(f"hashscan: {answer.get('message') or answer.get('outcome')}")
        if answer["outcome"] == "refuse":
            raise UploadRefused(answer["files"][0].get("threat", "refused"))

    def upload_interrupted(self) -> None:
        """End the request to hashscan; its check is cancelled."""
        self.connection.close()
