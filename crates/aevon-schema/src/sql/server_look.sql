-- server_look: which server this is, who asks it, and what time it has
SELECT current_setting('server_version') AS version,
       current_user::text AS role,
       pg_is_in_recovery() AS is_standby,
       coalesce((SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_class c WHERE c.oid = to_regclass('events')),
                false) AS is_owner,
       clock_timestamp() AS clock
