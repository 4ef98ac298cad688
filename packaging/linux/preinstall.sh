#!/bin/sh
# Before anything is unpacked: an installation that was made by hand is not overwritten.
# $1 is `install` or `upgrade` from dpkg, and from rpm the number of packages there will be.
set -e

case "$1" in
  install | 1) ;;
  *) exit 0 ;;
esac

refuse() {
  printf 'backhaul: %s\n\nNothing was changed. fix: %s\n' "$1" "$2" >&2
  exit 1
}

if [ -n "$(ls -A /opt/backhaul 2>/dev/null)" ]; then
  refuse "/opt/backhaul holds an installation that this package did not make." \
    "systemctl stop backhaul; mv /opt/backhaul /opt/backhaul.old; then install the package again.
Configuration and ledger stay where they are."
fi

for unit in backhaul.service backhaul@.service backhaul-dashboard.service; do
  unit=/etc/systemd/system/$unit
  if [ -f "$unit" ]; then
    refuse "$unit would hide the unit of this package." \
      "mv $unit $unit.old; then install the package again.
Put your own changes into: systemctl edit $(basename "$unit" .service)"
  fi
done
