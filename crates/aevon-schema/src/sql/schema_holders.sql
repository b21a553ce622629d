-- schema_holders: the transactions that are open for longest, whose locks a migration may wait for
SELECT 'process ' || pid || ' (' || coalesce(nullif(application_name, ''), usename, '?') || ', open for '
       || round(extract(epoch FROM now() - xact_start)) || ' s)' AS holder
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start
LIMIT 3
