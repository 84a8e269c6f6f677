# Functions and checks that try_deb.sh and try_rpm.sh share: they install packages in a fresh root in $root.
# shellcheck shell=sh
set -eu

work=$(mktemp -d)
root=$work/root
finish() {
  umount -l "$root/proc" "$root/dev" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap finish EXIT
begun=$(date +%s)
step() { echo "== $(($(date +%s) - begun)) s: $*"; }
inside() {
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
# Run a command quietly, unless it fails or warns that it leaves a folder.
quiet() {
  "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  ! grep "so not removed" "$work/log"
}

# Make the root, with the arguments of debootstrap before its folder.
fresh_root() {
  quiet debootstrap --variant=minbase "$@" "$root"
  mount --bind /dev "$root/dev"
  mount -t proc proc "$root/proc"
}

# Use what is installed: the C parts, a scan, and the state folder of the units' user.
use_it() {
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
}
