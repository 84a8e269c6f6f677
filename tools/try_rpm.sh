#!/bin/sh
# Install, use, install again and remove an .rpm for Python 3.13 in a fresh root; fail at what is wrong.
#
#     tools/try_rpm.sh PACKAGE.rpm
#
# The root is of Debian 13, so this tries the files, the scripts and rpm's own record of them, and the libraries
# on that interpreter; not the names of the packages of RHEL, on which it depends. Needs root, debootstrap, rpm.
set -eu

package=$1
work=$(mktemp -d)
root=$work/root
finish() {
  umount -l "$root/proc" "$root/dev" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap finish EXIT
begun=$(date +%s)
step() { echo "== $(($(date +%s) - begun)) s: $*"; }
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 "$@"; }
quiet() { "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }; }

step "what it needs, and its scripts"
rpm -qp --requires "$package" | grep -v '^rpmlib'
rpm -qp --scripts "$package" >"$work/scripts"
for script in postinstall preuninstall postuninstall; do
  grep -q "^$script scriptlet (using /bin/sh):" "$work/scripts"
done
test "$(rpm -qpc "$package")" = /etc/logrotate.d/hashscan
quiet rpm --checksig --nosignature "$package"

step "a fresh root"
quiet debootstrap --variant=minbase --include=python3.13,libseccomp2,ca-certificates trixie "$root"
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"

step "install"
# Debian's packages are in no database of rpm.
quiet rpm --root "$root" --install --nodeps --nosignature "$package"
quiet rpm --root "$root" --verify --nodeps hashscan
inside hashscan --version | tee "$work/version"
grep -qx "matching: C" "$work/version"
grep -qx "hashing: C" "$work/version"
code=0
inside hashscan scan --list demo --no-state /usr/share/hashscan/examples/uploads >"$work/log" 2>&1 || code=$?
test "$code" = 1 || { cat "$work/log"; exit 1; }
step "found: exit code 1"

step "as the user of the units"
test "$(stat -c %a "$root/var/lib/hashscan")" = 700
quiet inside runuser -u hashscan -- hashscan selftest --state /var/lib/hashscan

step "install again, over a changed file of settings"
echo "# ours" >>"$root/etc/logrotate.d/hashscan"
quiet rpm --root "$root" --upgrade --replacepkgs --nodeps --nosignature "$package"
grep -q "# ours" "$root/etc/logrotate.d/hashscan"
inside hashscan --version >/dev/null

step "remove"
quiet rpm --root "$root" --erase hashscan
test ! -e "$root/usr/lib/hashscan"
test ! -e "$root/usr/bin/hashscan"
test -z "$(find "$root/usr" -iname '*hashscan*')"
test -n "$(ls -A "$root/var/lib/hashscan")"
inside getent passwd hashscan >/dev/null
step "the state and its user are kept"
