#!/bin/sh
# Fetch Debian's installer for i386, and the boot loader of its CDs, for tests/guests/test_installer.py: unpacked under
# .guests/installer.
set -eu
cd "$(dirname "$0")/../.."
target=$PWD/.guests/installer
. tests/guests/apt-i386.sh
package=$(apt-cache "$@" pkgnames debian-installer- | grep -- '-netboot-i386$' | sort | tail -n 1)
[ -n "$package" ] || { echo "installer: the sources of apt know no debian-installer for i386" >&2; exit 1; }
cd "$target/apt"
apt-get "$@" download "$package" isolinux
for file in *.deb; do dpkg-deb --extract "$file" "$target/root"; done
cd "$target"
mv root/usr/lib/debian-installer/images/*/i386/text/debian-installer .
mv root/usr/lib/ISOLINUX/isolinux.bin .
rm -rf apt root
touch complete
