#!/bin/sh
# Fetch the programs that `python -m benchmarks.programs` runs in a guest, with all they depend on: unpacked under
# .guests/programs.
set -eu
cd "$(dirname "$0")/.."
target=$PWD/.guests/programs
. tests/guests/apt-i386.sh
apt-get "$@" --no-install-recommends --yes --download-only install \
  bash coreutils gzip libc-bin lua5.4 mawk openssl p7zip python3-minimal sqlite3 stress-ng zstd
for package in "$target"/apt/cache/archives/*.deb; do dpkg-deb --extract "$package" "$target/root"; done
rm -rf "$target/apt"
touch "$target/complete"
