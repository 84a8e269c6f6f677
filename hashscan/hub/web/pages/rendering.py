"""Render a hub's pages."""

from __future__ import annotations

from pathlib import Path

from hashscan.web.rendering import Renderer

RENDERER = Renderer(Path(__file__).parent / "templates")
page_answer = RENDERER.page
error_page = RENDERER.error
