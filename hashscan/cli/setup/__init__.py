"""Set a machine up for nightly scans, and undo that: user, folders, settings, units or a line for cron."""
