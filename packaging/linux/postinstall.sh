#!/bin/sh
# After the files are there: user, directories, a copy that a running agent may keep.
# $1 is `configure` from dpkg, and from rpm the number of packages there are. No service is started.
set -e

case "$1" in
  abort-*) exit 0 ;;
esac

home=/opt/backhaul
release=@RELEASE@

# ---- user and directories ------------------------------------------------------------------

if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers backhaul.conf
elif ! getent passwd backhaul >/dev/null; then
  getent group backhaul >/dev/null || groupadd --system backhaul
  useradd --system --gid backhaul --comment "Backhaul agent" --home-dir /var/lib/backhaul \
    --no-create-home --shell /usr/sbin/nologin backhaul
fi

# By systemd-tmpfiles where it is; else what the agent cannot start without.
if command -v systemd-tmpfiles >/dev/null; then
  systemd-tmpfiles --create backhaul.conf
elif [ ! -e /var/lib/backhaul ]; then
  install -d -m 0750 -o backhaul -g backhaul /var/lib/backhaul
fi

# ---- the release that is run ---------------------------------------------------------------

# Whether a process was started from a release. The brackets, so that grep does not find itself.
runs() { grep -qs "$home/releases[/]$1/" /proc/[0-9]*/cmdline; }

# Links to the package's files, which cost no space. The next upgrade replaces the package's files
# and leaves these, so that an agent that runs meanwhile starts its workers from its own release.
mkdir -p "$home/releases"
if [ ! -d "$home/releases/$release" ]; then
  rm -rf "$home/releases/.new"
  cp -al "$home/package" "$home/releases/.new" 2>/dev/null || {
    rm -rf "$home/releases/.new"
    cp -a "$home/package" "$home/releases/.new" # a file system without hard links
  }
  mv -T "$home/releases/.new" "$home/releases/$release"
fi

# Says which Python is missing, if one is.
"$home/bin/backhaul" --version >/dev/null

# The user of the agent may not write here, and would compile again at each start.
"$home/bin/python" - "$home/releases/$release/lib" <<'END' || echo "backhaul: not compiled; starts are slower" >&2
import compileall, pathlib, sys
library = pathlib.Path(sys.argv[1])
for place in (library / "shared", library / ("python%d.%d" % sys.version_info[:2])):
    compileall.compile_dir(place, quiet=2, workers=0)
END

still=
for place in "$home"/releases/*; do
  other=${place##*/}
  [ "$other" != "$release" ] || continue
  if runs "$other"; then
    still=yes
  else
    rm -rf "$place"
  fi
done

# ---- systemd -------------------------------------------------------------------------------

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi

if [ -n "$still" ]; then
  echo "backhaul: @VERSION@ is installed. What runs now goes on with the release it was started from,
until you restart it: systemctl restart backhaul"
elif [ ! -e /etc/backhaul/backhaul.toml ]; then
  echo "backhaul: @VERSION@ is installed, and nothing is started. Next, as root: backhaul init"
fi
