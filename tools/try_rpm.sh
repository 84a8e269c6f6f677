#!/bin/sh
# Install, use, install again and remove an .rpm for Python 3.13 in a fresh root; fail at what is wrong.
#
#     tools/try_rpm.sh PACKAGE.rpm
#
# The root is of Debian 13, so this tries the files, the scripts and rpm's own record of them, and the libraries
# on that interpreter; not the names of the packages of RHEL, on which it depends. Needs root, debootstrap, rpm.
. "$(dirname "$0")/fresh_root.sh"

package=$1

step "what it needs, and its scripts"
rpm -qp --requires "$package" | grep -v '^rpmlib'
rpm -qp --scripts "$package" >"$work/scripts"
for script in postinstall preuninstall postuninstall; do
  grep -q "^$script scriptlet (using /bin/sh):" "$work/scripts"
done
test "$(rpm -qpc "$package")" = /etc/logrotate.d/hashscan
quiet rpm --checksig --nosignature "$package"

step "a fresh root"
fresh_root --include=python3.13,libseccomp2,ca-certificates trixie

step "install"
# Debian's packages are in no database of rpm.
quiet rpm --root "$root" --install --nodeps --nosignature "$package"
quiet rpm --root "$root" --verify --nodeps hashscan
use_it

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
