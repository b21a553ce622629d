-- schema_ran: the migrations that ran, and when, in seconds since 1970
SELECT version::text AS version, extract(epoch FROM run_on::timestamptz)::float8 AS at
FROM __diesel_schema_migrations
