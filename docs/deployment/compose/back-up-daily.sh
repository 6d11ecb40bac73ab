#!/bin/sh
# Make a backup now and each day, and restore one each Sunday to verify it. What fails is
# in the status file, which the site reports.
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
