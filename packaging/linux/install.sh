#!/bin/sh
# Installs Backhaul @VERSION@ from the files beside this one, without a network.
set -eu

usage() {
  cat <<'END'
usage: ./install.sh [--prefix DIR] [--python PROGRAM]

Installs Backhaul @VERSION@ into DIR, /opt/backhaul unless it is given, and contacts no network.
A DIR of your own needs no root. PROGRAM is Python 3.11, 3.12 or 3.13; else one is looked for.
Run it again to repair or, from a newer bundle, to upgrade. It starts and restarts no service.
END
}

fail() {
  printf 'install.sh: %s\n\nfix: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

prefix=/opt/backhaul
python=
while [ $# -gt 0 ]; do
  case "$1" in
    --prefix | --python)
      [ $# -ge 2 ] || { usage >&2; exit 64; }
      if [ "$1" = --prefix ]; then prefix=$2; else python=$2; fi
      shift 2
      ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 64 ;;
  esac
done
case "$prefix" in
  /?*) prefix=${prefix%/} ;;
  ?*) prefix=$PWD/${prefix%/} ;;
  *) usage >&2; exit 64 ;;
esac
# Both would end up in the first line of scripts and in unit files.
case "$prefix" in
  *[!A-Za-z0-9/._-]*) fail "the prefix $prefix has characters other than letters, digits and / . _ -" \
    "choose another --prefix" 64 ;;
esac

cd "$(dirname "$0")"
umask 022

# ---- before anything is changed ------------------------------------------------------------

if ! wrong=$(sha256sum --check --quiet SHA256SUMS 2>&1); then
  fail "the bundle is damaged: $(printf '%s' "$wrong" | head -n 1)" \
    "unpack the archive again, and compare the archive with its own SHA256SUMS"
fi

serves() {
  "$1" -I -c 'import sys, sqlite3, ssl, venv
sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}
if [ -n "$python" ]; then
  serves "$python" || fail "$python is not a complete Python 3.11, 3.12 or 3.13" "give another --python" 78
else
  for program in python3.13 python3.12 python3.11 python3; do
    if serves "$program"; then
      python=$program
      break
    fi
  done
  [ -n "$python" ] || fail "Python 3.11, 3.12 or 3.13 is needed, and PATH has none of them complete" \
    "apt-get install python3.11, or: dnf install python3.11; or give --python" 78
fi

set -- wheels/pip-*.whl
pip=$PWD/$1
release=@VERSION@-$(sha256sum SHA256SUMS | cut -c 1-8)
mark=$prefix/.backhaul-bundle # says that this script made the directory, and which version is in it

if [ -e "$mark" ]; then
  there=$(cat "$mark")
  newer='import sys
from pip._vendor.packaging.version import Version
sys.exit(Version(sys.argv[1]) <= Version(sys.argv[2]))'
  if PYTHONPATH="$pip" "$python" -c "$newer" "$there" "@VERSION@"; then
    fail "$prefix has Backhaul $there, which is newer than @VERSION@; an older one may not read its ledger" \
      "choose another --prefix"
  fi
elif [ -n "$(ls -A "$prefix" 2>/dev/null)" ]; then
  fail "$prefix exists, and this script did not make it: a package or a person did" \
    "choose another --prefix; or stop the agent, move $prefix away and run this again"
fi
mkdir -p "$prefix" 2>/dev/null && [ -w "$prefix" ] ||
  fail "$prefix cannot be written" "run this as root, or choose a --prefix of your own" 77

# ---- install -------------------------------------------------------------------------------

# The mark first: what an interruption leaves is then known as ours.
[ -e "$mark" ] || echo "@VERSION@" >"$mark"
place=$prefix/releases/$release
if [ -e "$place/complete" ] && "$place/bin/backhaul" --version >/dev/null 2>&1; then
  done="was installed already"
else
  done="is installed"
  rm -rf "$place"
  mkdir -p "$prefix/releases"
  "$python" -I -m venv --without-pip "$place"
  # pip's own wheel installs the others: each by its hash, from here, with no configuration.
  env -i PATH="$PATH" HOME="$place" TMPDIR="${TMPDIR:-/tmp}" PIP_CONFIG_FILE=/dev/null \
    PYTHONPATH="$pip" "$place/bin/python" -m pip install --quiet --no-index --find-links wheels \
    --no-cache-dir --disable-pip-version-check --root-user-action ignore --no-deps \
    --require-hashes --only-binary :all: -r requirements.txt
  "$place/bin/backhaul" --version >/dev/null
  : >"$place/complete"
fi

# The units name the program by its path.
rm -rf "$prefix/share"
cp -R share "$prefix/share"
for unit in "$prefix"/share/systemd/*.service; do
  sed "s,/opt/backhaul/bin/backhaul,$prefix/bin/backhaul," "$unit" >"$unit.new"
  mv "$unit.new" "$unit"
done

# From here on the new release is the one that is started.
mkdir -p "$prefix/bin"
ln -sfn "../releases/$release/bin/backhaul" "$prefix/bin/.new"
mv -f "$prefix/bin/.new" "$prefix/bin/backhaul"
echo "@VERSION@" >"$mark.new"
mv -f "$mark.new" "$mark"

# Whether a process was started from a release. The brackets, so that grep does not find itself.
runs() { grep -qs "$prefix/releases[/]$1/" /proc/[0-9]*/cmdline; }
still=
for other in "$prefix"/releases/*; do
  [ "$other" != "$place" ] || continue
  if runs "${other##*/}"; then still=yes; else rm -rf "$other"; fi
done

echo "Backhaul @VERSION@ $done: $prefix/bin/backhaul"
if [ -n "$still" ]; then
  echo "An agent runs, and goes on with the release it was started from, until you restart it."
fi
echo "Unit files, completions and man pages: $prefix/share"
