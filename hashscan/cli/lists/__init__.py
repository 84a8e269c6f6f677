"""Subcommands of `hashscan lists`."""
