-- schema_presence: which tables there are that say what schema this is, and whether this session may
-- read which migrations ran
SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS is_migrated,
       coalesce(has_table_privilege(to_regclass('__diesel_schema_migrations'), 'SELECT'), false)
           AS is_readable,
       coalesce(has_table_privilege(to_regclass('compatibility'), 'SELECT'), false)
           AS says_whom_it_serves,
       to_regclass('partitions') IS NOT NULL AS has_partitions
