-- state_head: the newest row of a partition, and how far this database is behind its primary
SELECT coalesce(e.seq, 0), e.ingested_at,
       CASE WHEN pg_is_in_recovery()
            THEN greatest(coalesce(extract(epoch FROM now() - pg_last_xact_replay_timestamp()), 0), 0)
            ELSE 0 END::double precision
FROM partitions p
LEFT JOIN LATERAL (
    SELECT n.seq, n.ingested_at FROM events n WHERE n.partition = $1 ORDER BY n.seq DESC LIMIT 1
) e ON true
WHERE p.partition = $1
