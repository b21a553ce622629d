-- state_head: the newest row of a partition, how far this database is behind its primary, the newest
-- void of the principal, and how often something was erased there
SELECT coalesce(e.seq, 0), e.ingested_at,
       CASE WHEN pg_is_in_recovery()
            THEN greatest(coalesce(extract(epoch FROM now() - pg_last_xact_replay_timestamp()), 0), 0)
            ELSE 0 END::double precision,
       (
           SELECT w.void_seq
           FROM principals q
           CROSS JOIN LATERAL (
               SELECT n.void_seq
               FROM voids n
               WHERE n.principal_no = q.principal_no
                 AND n.partition = $1
               ORDER BY n.principal_no DESC, n.void_seq DESC
               LIMIT 1
           ) w
           WHERE q.tenant_id = $2
             AND q.principal_id = $3
             AND q.partition = $1
       ),
       p.erasures
FROM partitions p
LEFT JOIN LATERAL (
    SELECT n.seq, n.ingested_at FROM events n WHERE n.partition = $1 ORDER BY n.seq DESC LIMIT 1
) e ON true
WHERE p.partition = $1
