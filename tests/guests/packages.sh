#!/bin/sh
# Fetch the Debian packages that the guest tests boot but this machine need not install: those of the i386 port.
# They are unpacked under .guests/, as any user, and nothing of the system changes: apt works on lists of its own.
set -eu
cd "$(dirname "$0")/../.."
guests=$PWD/.guests
[ -e "$guests/complete" ] && exit 0
command -v apt-get >/dev/null || { echo "guest packages: there is no apt-get here; they come from Debian" >&2; exit 1; }
rm -rf "$guests"
mkdir -p "$guests/apt/lists/partial" "$guests/apt/cache/archives/partial" "$guests/root"
set -- -qq -o Dir::State="$guests/apt" -o Dir::State::lists="$guests/apt/lists" -o Dir::State::status=/dev/null \
  -o Dir::Cache="$guests/apt/cache" -o APT::Architecture=i386 -o APT::Architectures=i386 \
  -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)"
apt-get "$@" update >/dev/null 2>&1 || true # a source without i386 fails here; what we need is asked for below
kernel=$(apt-cache "$@" depends linux-image-686 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$kernel" ] || { echo "guest packages: the sources of apt know no linux-image-686 for i386" >&2; exit 1; }
cd "$guests/apt"
apt-get "$@" download "$kernel" busybox-static
for package in *.deb; do dpkg-deb --extract "$package" "$guests/root"; done
cd "$guests"
rm -rf apt
ln -sf root/boot/vmlinuz-* vmlinuz
ln -sf root/lib/modules/* modules
ln -sf root/bin/busybox busybox
touch complete
