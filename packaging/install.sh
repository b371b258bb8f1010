#!/bin/sh
# Installs the program clarim: curl -fsSL https://github.com/clarim/clarim/releases/latest/download/install.sh | sh
# Options: --version X.Y.Z (default: latest release), --prefix DIR (default: /usr/local, or ~/.local without root).
# CLARIM_RELEASES: address of the releases, for mirrors.
set -eu

# All in functions: a download that was cut off runs nothing.
fail() {
  echo "clarim: $1" >&2
  exit 1
}

usage() {
  echo "usage: install.sh [--version X.Y.Z] [--prefix DIR]"
}

download() {
  if command -v curl >/dev/null 2>&1; then
    curl -fsSL --retry 3 -o "$2" "$1"
  elif command -v wget >/dev/null 2>&1; then
    wget -q -O "$2" "$1"
  else
    fail "install curl or wget"
  fi || fail "cannot download $1"
}

sha256() {
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum "$1"
  elif command -v shasum >/dev/null 2>&1; then
    shasum -a 256 "$1"
  else
    fail "install sha256sum or shasum, to verify the download"
  fi
}

target() {
  case "$(uname -m)" in
    x86_64 | amd64) cpu=x86_64 ;;
    aarch64 | arm64) cpu=aarch64 ;;
    *) fail "there is no program for $(uname -m); build it from source" ;;
  esac
  case "$(uname -s)" in
    Linux) echo "$cpu-unknown-linux-musl" ;;
    Darwin) echo "$cpu-apple-darwin" ;;
    *) fail "there is no program for $(uname -s); on Windows, use WSL 2" ;;
  esac
}

main() {
  version=
  prefix=
  while [ $# -gt 0 ]; do
    case "$1" in
      --version) [ $# -gt 1 ] || fail "--version needs a value"; version=${2#v}; shift ;;
      --version=*) version=${1#*=}; version=${version#v} ;;
      --prefix) [ $# -gt 1 ] || fail "--prefix needs a value"; prefix=$2; shift ;;
      --prefix=*) prefix=${1#*=} ;;
      -h | --help) usage; return ;;
      *) usage >&2; fail "unknown option $1" ;;
    esac
    shift
  done
  if [ -z "$prefix" ]; then
    if [ "$(id -u)" = 0 ]; then prefix=/usr/local; else prefix=$HOME/.local; fi
  fi
  target=$(target)
  name=clarim-$target
  releases=${CLARIM_RELEASES:-https://github.com/clarim/clarim/releases}
  if [ -n "$version" ]; then from=$releases/download/v$version; else from=$releases/latest/download; fi

  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  trap 'exit 1' HUP INT TERM
  download "$from/SHA256SUMS" "$folder/SHA256SUMS"
  download "$from/$name.tar.gz" "$folder/$name.tar.gz"
  expected=$(awk -v name="$name.tar.gz" '$2 == name { print $1 }' "$folder/SHA256SUMS")
  [ -n "$expected" ] || fail "SHA256SUMS has no $name.tar.gz"
  actual=$(sha256 "$folder/$name.tar.gz" | cut -d ' ' -f 1)
  [ "$actual" = "$expected" ] || fail "the checksum of $name.tar.gz is $actual instead of $expected; nothing was installed"

  gzip -dc "$folder/$name.tar.gz" | tar -xf - -C "$folder"
  mkdir -p "$prefix/bin" || fail "cannot write $prefix; choose another --prefix, or run as root"
  # In place of a program that may be running.
  cp "$folder/$name/clarim" "$prefix/bin/.clarim.new" || fail "cannot write $prefix/bin; choose another --prefix"
  chmod 755 "$prefix/bin/.clarim.new"
  mv "$prefix/bin/.clarim.new" "$prefix/bin/clarim"
  echo "installed $("$prefix/bin/clarim" --version) as $prefix/bin/clarim"
  case ":$PATH:" in
    *":$prefix/bin:"*) echo "start it: clarim start" ;;
    *) echo "start it: $prefix/bin/clarim start   (to type clarim, add $prefix/bin to PATH)" ;;
  esac
}

main "$@"
