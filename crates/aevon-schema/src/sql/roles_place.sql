-- roles_place: where roles are granted what: the schema, the database, whether this session may make
-- roles, which of those named are missing, and what is Aevon's in the schema
SELECT quote_ident(current_schema()) AS schema,
       quote_ident(current_database()) AS database,
       (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) AS may_create,
       array(
           SELECT n.name
           FROM unnest($1) AS n (name)
           WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = n.name)
       ) AS missing,
       array(
           SELECT c.oid::regclass::text
           FROM pg_class AS c
           JOIN pg_class AS ours ON ours.relnamespace = c.relnamespace AND ours.relowner = c.relowner
           WHERE ours.oid = to_regclass('partitions') AND c.relkind IN ('r', 'p', 'v', 'S')
           ORDER BY c.relname
       ) AS relations
