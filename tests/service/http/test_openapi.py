"""`/openapi.json` describes every answer; generated requests find no 5xx and no answer of another form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.openapi.checks import (
    AcceptedNegativeData,
    MissingHeaders,
    RejectedPositiveData,
)

from tests.service.http.serving import HttpServer, Site
