#!/bin/sh
# After installation and upgrade; by dpkg as `configure VERSION`, by rpm as the number of versions installed.
set -e

getent group hashscan >/dev/null || groupadd --system hashscan
getent passwd hashscan >/dev/null || useradd --system --gid hashscan --home-dir /var/lib/hashscan --no-create-home \
  --shell /usr/sbin/nologin --comment "hashscan scans" hashscan

install -d -o hashscan -g hashscan -m 0700 /var/lib/hashscan
install -d -o hashscan -g hashscan -m 0750 /var/log/hashscan
# Settings may hold secrets; the units read them as the user hashscan.
install -d -o root -g hashscan -m 0750 /etc/hashscan

# Other users can't write it, and would compile again at each start.
/usr/lib/hashscan/bin/python -m compileall -q -j 0 /usr/lib/hashscan/lib || true

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart hashscan-serve.service
fi
