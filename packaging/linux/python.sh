#!/bin/sh
# Backhaul's Python: the newest of the distribution's for which this package has libraries.
# Chosen at each start, so that the package outlives an upgrade of the distribution.

# What a running agent was started from stays where it is during an upgrade: see postinstall.
tree=/opt/backhaul/releases/@RELEASE@
[ -d "$tree" ] || tree=/opt/backhaul/package

# Others' Pythons, such as Spark's, set these for themselves.
unset PYTHONHOME PYTHONPATH

for version in 3.13 3.12 3.11; do
  [ -x "/usr/bin/python$version" ] || continue
  # Some distributions have a minimal Python without most of its library.
  for library in /usr/lib /usr/lib64; do
    if [ -e "$library/python$version/sqlite3/__init__.py" ]; then
      exec "$tree/bin/python$version" -P "$@"
    fi
  done
done

echo "backhaul: Python 3.11, 3.12 or 3.13 is needed, and /usr/bin has none of them complete.

fix: apt-get install python3.11, or: dnf install python3.11" >&2
exit 78
