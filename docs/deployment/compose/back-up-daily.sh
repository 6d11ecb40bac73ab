#!/bin/sh
# Make a backup now and every day. To verify the backups, restore the newest every Sunday,
# and every day until one was restored. Failures are written to the status file, and the
# site reports them.
set -eu
PGPASSWORD=$(cat /run/secrets/backup_password)
export PGPASSWORD
while true; do
  sh /usr/local/bin/orgadmin-backup /backups || true
  if [ "$(date +%u)" = 7 ] || ! grep -qs '^VERIFIED=' "$STATE_DIRECTORY/status"; then
    sh /usr/local/bin/orgadmin-verify-backup /backups || true
  fi
  sleep 86400
done
