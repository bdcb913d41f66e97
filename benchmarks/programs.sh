#!/bin/sh
# Fetch the programs that `python -m benchmarks.programs` runs in a guest: packages of Debian's i386 port, with all they
# depend on. They are unpacked under .guests/programs, as any user, and nothing of the system changes.
set -eu
cd "$(dirname "$0")/.."
programs=$PWD/.guests/programs
[ -e "$programs/complete" ] && exit 0
command -v apt-get >/dev/null || { echo "programs: there is no apt-get here; they come from Debian" >&2; exit 1; }
rm -rf "$programs"
mkdir -p "$programs/apt/lists/partial" "$programs/apt/cache/archives/partial" "$programs/root"
set -- -qq -o Dir::State="$programs/apt" -o Dir::State::lists="$programs/apt/lists" -o Dir::State::status=/dev/null \
  -o Dir::Cache="$programs/apt/cache" -o APT::Architecture=i386 -o APT::Architectures=i386 \
  -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)"
apt-get "$@" update >/dev/null 2>&1 || true # a source without i386 fails here; what we need is asked for below
apt-get "$@" --no-install-recommends --yes --download-only install \
  bash coreutils gzip libc-bin lua5.4 mawk openssl p7zip python3-minimal sqlite3 stress-ng zstd
for package in "$programs"/apt/cache/archives/*.deb; do dpkg-deb --extract "$package" "$programs/root"; done
rm -rf "$programs/apt"
touch "$programs/complete"
