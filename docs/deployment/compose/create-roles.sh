#!/bin/sh
# Create the roles and the database, as in docs/deployment.md without containers. The
# PostgreSQL image runs this script once, when its volume is empty.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
\set password `cat /run/secrets/database_password`
\set backup_password `cat /run/secrets/backup_password`
CREATE ROLE orgadmin LOGIN PASSWORD :'password';
CREATE DATABASE orgadmin OWNER orgadmin TEMPLATE template0
  ENCODING 'UTF8' LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'und';
CREATE ROLE "orgadmin-backup" LOGIN PASSWORD :'backup_password';
GRANT pg_read_all_data TO "orgadmin-backup";
ALTER ROLE "orgadmin-backup" SET default_transaction_read_only = on;
\connect orgadmin
CREATE EXTENSION pg_trgm;
SQL
