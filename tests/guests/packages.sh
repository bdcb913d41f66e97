#!/bin/sh
# Fetch the Debian packages that the guest tests boot but this machine need not install: unpacked under .guests/.
set -eu
cd "$(dirname "$0")/../.."
target=$PWD/.guests
. tests/guests/apt-i386.sh
kernel=$(apt-cache "$@" depends linux-image-686 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$kernel" ] || { echo "guest packages: the sources of apt know no linux-image-686 for i386" >&2; exit 1; }
cd "$target/apt"
apt-get "$@" download "$kernel" busybox-static
for package in *.deb; do dpkg-deb --extract "$package" "$target/root"; done
cd "$target"
rm -rf apt
ln -sf root/boot/vmlinuz-* vmlinuz
ln -sf root/lib/modules/* modules
ln -sf root/bin/busybox busybox
touch complete
