#!/bin/sh
# Before removal and before the files of another version are unpacked; by dpkg as `remove` or `upgrade`, by rpm as
# the number of versions that stay.
set -e

case $1 in
  remove | 0)
    if [ -d /run/systemd/system ]; then
      for unit in /usr/lib/systemd/system/hashscan*; do
        systemctl disable --now --quiet "${unit##*/}" || true
      done
    fi
    ;;
esac

# No package owns the bytecode, and it would keep its folders. rpm has written that of the newer version by now.
case $1 in
  remove | upgrade | 0) find /usr/lib/hashscan -name __pycache__ -prune -exec rm -rf {} + ;;
esac
