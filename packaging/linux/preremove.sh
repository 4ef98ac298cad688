#!/bin/sh
# Before the files go. $1 is `remove` from dpkg and 0 from rpm; anything else is an upgrade, which
# stops nothing.
set -e

case "$1" in
  remove | 0) ;;
  *) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
  systemctl stop 'backhaul-reconcile@*.timer' 'backhaul-reconcile@*.service' || true
  systemctl stop 'backhaul@*.service' || true
  systemctl disable backhaul@.service || true # every instance of it
  systemctl disable --now backhaul.service backhaul-dashboard.service \
    backhaul-ledger-backup.timer || true
fi
