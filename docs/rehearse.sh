#!/bin/sh
# Rehearse an upgrade on a copy of a PostgreSQL database: forwards, back to where it was, forwards again, each timed,
# and what the way back left compared with what was there. The database itself is only read.
#
#     DATABASE_URL=postgres://USER:PASSWORD@HOST/NAME docs/rehearse.sh
#
# Wants pg_dump, pg_restore and psql (Debian: postgresql-client), of the server's version or a newer one, a user who may
# create databases, and the new release's code with its environment (PYTHON names it, else .venv/bin/python).
set -eu
cd "$(dirname "$0")/.."
: "${DATABASE_URL:?names the database that is to be copied}"
python=${PYTHON:-.venv/bin/python}
original=$DATABASE_URL
name=$(psql "$original" -XAtc "SELECT current_database()")
copy=${name}_rehearsal
folder=$(mktemp -d)

case $original in *\?*) query="?${original#*\?}" ;; *) query= ;; esac
address=${original%%\?*}
DATABASE_URL=${address%/*}/$copy$query
export DATABASE_URL

clean_up() {
  rm -rf "$folder"
  psql "$original" -Xqc "DROP DATABASE IF EXISTS $copy WITH (FORCE)"
}
trap clean_up EXIT

timed() {
  what=$1
  shift
  start=$(date +%s.%N)
  "$@" >"$folder/out" 2>&1 || { cat "$folder/out"; echo "$what failed; nothing was changed but the copy."; exit 1; }
  end=$(date +%s.%N)
  echo "$what: $(awk "BEGIN { printf \"%.1f\", $end - $start }") s"
}

manage() { "$python" manage.py "$@"; }
restore() { psql "$original" -Xqc "CREATE DATABASE $copy" && pg_restore --no-owner --jobs 2 -d "$DATABASE_URL" "$folder/dump"; }
applied() { manage showmigrations orgadmin | sed -n 's/^ \[X\] //p' | tail -n 1; }
rows() { # how many, and a sum over what stands in them, in the columns that there are before the upgrade
  psql "$DATABASE_URL" -XAtc "SELECT 'orgadmin_organization', count(*), sum(hashtextextended(concat_ws('|', id, name, \
reference, website, email, phone, address, tax_id, notes), 0)) FROM orgadmin_organization" \
    -c "SELECT 'auth_group', count(*), sum(hashtextextended(concat_ws('|', id, name), 0)) FROM auth_group" \
    -c "SELECT 'orgadmin_user_groups', count(*), sum(hashtextextended(concat_ws('|', user_id, group_id), 0)) \
FROM orgadmin_user_groups"
}

timed "dump" pg_dump --format=custom --no-owner --file "$folder/dump" "$original"
timed "restore" restore
before=$(applied)
[ -n "$before" ] || { echo "There is no table of ours yet: nothing to rehearse."; exit 1; }
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
  echo "The way back left something else (table|rows|sum):"
  diff "$folder/before" "$folder/after" || exit 1
fi
