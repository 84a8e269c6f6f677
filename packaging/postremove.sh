#!/bin/sh
# After removal and upgrade; by dpkg as `remove`, `purge` or `upgrade VERSION`, by rpm as the number that stays.
set -e

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi

# Folders that only bytecode was left in.
case $1 in
  remove | purge | 0) rm -rf /usr/lib/hashscan ;;
esac

test "$1" = purge || exit 0

# Files of `hashscan setup` elsewhere.
for made in /etc/systemd/system/hashscan*.d/setup.conf /etc/cron.d/hashscan; do
  if grep -q "\"$made\"" /etc/hashscan/setup.json 2>/dev/null; then
    rm -f "$made"
    case $made in */setup.conf) rmdir --ignore-fail-on-non-empty "${made%/*}" ;; esac
  fi
done

rm -rf /etc/hashscan /var/log/hashscan /var/cache/hashscan
# When timers last ran, which systemd keeps.
rm -f /var/lib/systemd/timers/stamp-hashscan*.timer

# What lies in quarantine may be evidence that must be kept, and only its log says where each file belongs.
kept=
for state in /var/lib/hashscan /var/lib/hashscan-quarantine; do
  if [ -n "$(ls -A "$state/quarantine" 2>/dev/null)" ]; then
    echo "hashscan: $state is kept, because its quarantine has files or their log, which may be evidence; so is the user hashscan" >&2
    kept=yes
  else
    rm -rf "$state"
  fi
done
test -z "$kept" || exit 0

if getent passwd hashscan >/dev/null; then
  userdel hashscan
fi
if getent group hashscan >/dev/null; then
  groupdel hashscan
fi
