#!/bin/sh
# Fetch Debian's installer for i386, and the boot loader of its CDs, for tests/guests/test_installer.py: unpacked under
# .guests/installer, as any user, and nothing of the system changes.
set -eu
cd "$(dirname "$0")/../.."
installer=$PWD/.guests/installer
[ -e "$installer/complete" ] && exit 0
command -v apt-get >/dev/null || { echo "installer: there is no apt-get here; it comes from Debian" >&2; exit 1; }
rm -rf "$installer"
mkdir -p "$installer/apt/lists/partial" "$installer/apt/cache/archives/partial" "$installer/root"
set -- -qq -o Dir::State="$installer/apt" -o Dir::State::lists="$installer/apt/lists" -o Dir::State::status=/dev/null \
  -o Dir::Cache="$installer/apt/cache" -o APT::Architecture=i386 -o APT::Architectures=i386 \
  -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)"
apt-get "$@" update >/dev/null 2>&1 || true # a source without i386 fails here; what we need is asked for below
package=$(apt-cache "$@" pkgnames debian-installer- | grep -- '-netboot-i386$' | sort | tail -n 1)
[ -n "$package" ] || { echo "installer: the sources of apt know no debian-installer for i386" >&2; exit 1; }
cd "$installer/apt"
apt-get "$@" download "$package" isolinux
for file in *.deb; do dpkg-deb --extract "$file" "$installer/root"; done
cd "$installer"
mv root/usr/lib/debian-installer/images/*/i386/text/debian-installer .
mv root/usr/lib/ISOLINUX/isolinux.bin .
rm -rf apt root
touch complete
