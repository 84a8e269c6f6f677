"""The public form for notices of illegal content, on a listener of its own (`hashscan cases form`)."""
