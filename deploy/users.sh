#!/bin/sh
# Run once by the image of Postgres, when it makes its cluster: a user for each kind of program, as a
# member of the role that `aevon migrate --roles` grants what it needs.
set -eu
for role in ingest aggregator projection rules keys verify; do
  psql -v ON_ERROR_STOP=1 -v password="$POSTGRES_PASSWORD" -U "$POSTGRES_USER" -d "$POSTGRES_DB" << SQL
CREATE ROLE aevon_$role NOLOGIN;
CREATE ROLE $role LOGIN PASSWORD :'password' IN ROLE aevon_$role;
SQL
done
