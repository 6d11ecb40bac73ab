#!/bin/sh
# Rehearse an upgrade on a copy of a PostgreSQL database. On the copy, apply the new
# migrations, undo them, and apply them again, and measure the time of each run. Then
# compare the data after undoing with the original data. The database itself is only read.
#
#     DATABASE_URL=postgres://USER:PASSWORD@HOST/NAME docs/rehearse.sh
#
# Needs pg_dump, pg_restore and psql of the server's version or newer (Debian:
# postgresql-client), a database user who can create databases, and the code of the new
# release with its virtual environment. PYTHON is the path of the interpreter; the default
# is .venv/bin/python.
set -eu
cd "$(dirname "$0")/.."
: "${DATABASE_URL:?must be the URL of the database to copy}"
python=${PYTHON:-.venv/bin/python}
original=$DATABASE_URL
name=$(psql "$original" -XAtc "SELECT current_database()")
copy=${name}_rehearsal
folder=$(mktemp -d)

case $original in *\?*) query="?${original#*\?}" ;; *) query= ;; esac
address=${original%%\?*}
DATABASE_URL=${address%/*}/$copy$query
# If the second variable is set, commands use it.
DIRECT_DATABASE_URL=$DATABASE_URL
export DATABASE_URL DIRECT_DATABASE_URL

clean_up() {
  rm -rf "$folder"
  psql "$original" -Xqc "DROP DATABASE IF EXISTS $copy WITH (FORCE)"
}
trap clean_up EXIT

timed() {
  what=$1
  shift
  start=$(date +%s.%N)
  "$@" >"$folder/out" 2>&1 || { cat "$folder/out"; echo "$what failed. Only the copy was changed."; exit 1; }
  end=$(date +%s.%N)
  echo "$what: $(awk "BEGIN { printf \"%.1f\", $end - $start }") s"
}

manage() { "$python" manage.py "$@"; }
restore() { psql "$original" -Xqc "CREATE DATABASE $copy" && pg_restore --no-owner --jobs 2 -d "$DATABASE_URL" "$folder/dump"; }
applied() { manage showmigrations orgadmin | sed -n 's/^ \[X\] //p' | tail -n 1; }
# Print the number of rows of each table, and a checksum of the columns that exist before the
# upgrade.
rows() {
  psql "$DATABASE_URL" -XAtc "SELECT 'orgadmin_organization', count(*), sum(hashtextextended(concat_ws('|', id, name, \
reference, website, email, phone, address, tax_id, notes), 0)) FROM orgadmin_organization" \
    -c "SELECT 'auth_group', count(*), sum(hashtextextended(concat_ws('|', id, name), 0)) FROM auth_group" \
    -c "SELECT 'orgadmin_user_groups', count(*), sum(hashtextextended(concat_ws('|', user_id, group_id), 0)) \
FROM orgadmin_user_groups"
}

timed "dump" pg_dump --format=custom --no-owner --file "$folder/dump" "$original"
timed "restore" restore
before=$(applied)
[ -n "$before" ] || { echo "No migration of orgadmin is applied yet, so there is nothing to rehearse."; exit 1; }
rows >"$folder/before"
timed "forwards" manage migrate
echo "        from $before to $(applied)"
timed "backwards" manage migrate orgadmin "${before%%_*}"
rows >"$folder/after"
timed "forwards again" manage migrate
timed "doctor" manage doctor
if cmp -s "$folder/before" "$folder/after"; then
  echo "The way back left organizations, groups and memberships as they were."
else
  echo "The way back did not restore the data (table|rows|checksum):"
  diff "$folder/before" "$folder/after" || exit 1
fi
