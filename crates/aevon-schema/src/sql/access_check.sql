-- access_check: whether this session may only read, and which of the privileges given it lacks; one
-- on any column counts, as a lock on rows needs no more
SELECT current_setting('transaction_read_only')::boolean,
       array(
           SELECT n.privilege || ' on ' || n.relation
           FROM (
               SELECT u.relation, CASE u.privilege WHEN 'LOCK' THEN 'UPDATE' ELSE u.privilege END
               FROM unnest($1, $2) AS u (relation, privilege)
           ) AS n (relation, privilege)
           WHERE NOT CASE n.privilege
                     WHEN 'USAGE' THEN has_sequence_privilege(n.relation, n.privilege)
                     WHEN 'DELETE' THEN has_table_privilege(n.relation, n.privilege)
                     ELSE has_any_column_privilege(n.relation, n.privilege) END
       )
