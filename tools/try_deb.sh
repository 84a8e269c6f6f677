#!/bin/sh
# Install, use, upgrade, remove and purge a package in a fresh root of its distribution; fail at what is wrong.
#
#     tools/try_deb.sh PACKAGE.deb [SUITE]
#
# Needs root and debootstrap, and ubuntu-keyring for a suite of Ubuntu.
. "$(dirname "$0")/fresh_root.sh"

package=$1 suite=${2:-trixie}

step "a fresh root of $suite"
case $suite in jammy | noble) components=main,universe ;; *) components=main ;; esac
fresh_root --components="$components" "$suite"
cp /etc/resolv.conf "$root/etc/"
cp "$package" "$root/tmp/old.deb"
# The same with another version and one module less.
dpkg-deb -R "$package" "$work/newer"
sed -i 's/^Version: .*/&+newer/' "$work/newer/DEBIAN/control"
rm "$work"/newer/usr/lib/hashscan/lib/python*/site-packages/hashscan/timefmt.py
dpkg-deb -Znone -b "$work/newer" "$root/tmp/newer.deb" >/dev/null
quiet inside apt-get update

begun=$(date +%s)
step "install"
quiet inside apt-get -y --no-install-recommends install /tmp/old.deb
use_it

step "as in a container: a root that can't be written, no capabilities"
quiet unshare --mount sh -c "
  mount --bind '$root' '$root' && mount -o remount,ro,bind '$root'
  mount --bind /dev '$root/dev' && mount -t proc proc '$root/proc' && mount -t tmpfs tmpfs '$root/tmp'
  mount -t tmpfs -o mode=777 tmpfs '$root/var/lib/hashscan'
  exec chroot '$root' setpriv --reuid hashscan --regid hashscan --clear-groups --no-new-privs --bounding-set -all \
    env -i PATH=/usr/bin HASHSCAN_STATE=/var/lib/hashscan/state hashscan selftest"

step "upgrade, with a changed file of settings"
echo "# ours" >>"$root/etc/logrotate.d/hashscan"
quiet inside dpkg -i /tmp/newer.deb
grep -q "# ours" "$root/etc/logrotate.d/hashscan"
test -z "$(find "$root/usr/lib/hashscan" -name 'timefmt*')"
test -n "$(ls -A "$root/var/lib/hashscan")"

step "remove"
quiet inside dpkg -r hashscan
test ! -e "$root/usr/lib/hashscan"
test ! -e "$root/usr/bin/hashscan"
test -n "$(ls -A "$root/var/lib/hashscan")"

step "purge while something is in quarantine"
mkdir -p "$root/var/lib/hashscan/quarantine"
touch "$root/var/lib/hashscan/quarantine/log"
quiet inside dpkg -P hashscan
test -e "$root/var/lib/hashscan/quarantine/log"
inside getent passwd hashscan >/dev/null

step "purge"
rm -r "$root/var/lib/hashscan/quarantine"
quiet inside dpkg -i /tmp/old.deb
quiet inside dpkg -P hashscan
left=$(find "$root" -xdev -iname '*hashscan*'; grep -l hashscan "$root"/etc/passwd "$root"/etc/group || true)
test -z "$left" || { echo "left: $left"; exit 1; }
step "nothing is left"
