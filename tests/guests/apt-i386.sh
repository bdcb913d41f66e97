# shellcheck shell=sh
# Sourced by scripts that fetch packages of Debian's i386 port into "$target", as any user, while nothing of the system
# changes: apt works on lists of its own. Ends the script if that is done; leaves apt's options in "$@".
[ -e "$target/complete" ] && exit 0
command -v apt-get >/dev/null || { echo "$0: there is no apt-get here; the packages come from Debian" >&2; exit 1; }
rm -rf "$target"
mkdir -p "$target/apt/lists/partial" "$target/apt/cache/archives/partial" "$target/root"
set -- -qq -o Dir::State="$target/apt" -o Dir::State::lists="$target/apt/lists" -o Dir::State::status=/dev/null \
  -o Dir::Cache="$target/apt/cache" -o APT::Architecture=i386 -o APT::Architectures=i386 \
  -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)"
apt-get "$@" update >/dev/null 2>&1 || true # a source without i386 fails here; what we need is asked for below
