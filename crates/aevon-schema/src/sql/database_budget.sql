-- database_budget: how many connections Postgres lets this user have: the least of what the server, the
-- database and the role allow
SELECT least(
           current_setting('max_connections')::bigint
               - current_setting('superuser_reserved_connections')::bigint
               - coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::bigint,
           (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
           (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
       ) AS connections
