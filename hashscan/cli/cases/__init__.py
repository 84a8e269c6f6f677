"""The subcommands of `hashscan cases`, by their subject."""
