#!/bin/sh
# After the files are gone. $1 is `remove` or `purge` from dpkg and 0 from rpm; anything else is an
# upgrade, or one that failed. Configuration and ledger are kept, even by a purge.
set -e

case "$1" in
  remove | purge | 0) ;;
  *) exit 0 ;;
esac

rm -rf /opt/backhaul/releases
rmdir /opt/backhaul/bin /opt/backhaul 2>/dev/null || true

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi

# The ledger is the record of what was copied: without it everything that is sent again is copied
# again, and nothing proves what was copied before.
kept=
for place in /etc/backhaul /var/lib/backhaul /var/log/backhaul; do
  [ -z "$(ls -A "$place" 2>/dev/null)" ] || kept="$kept $place"
done
if [ -n "$kept" ]; then
  echo "backhaul: kept$kept. To delete this, the ledger included: rm -r$kept; userdel backhaul"
fi
