-- state_position: the newest row of a partition, and the one that a version ($2) or an instant ($3)
-- of ingestion comes down to: the newest whose stamp is not above it, 0 where there is none. Found by
-- halving, as positions have no gaps and stamps rise with them. And how often something was erased there
WITH RECURSIVE head AS MATERIALIZED (
    SELECT coalesce(e.seq, 0) AS seq, p.erasures
    FROM partitions p
    LEFT JOIN LATERAL (
        SELECT n.seq FROM events n WHERE n.partition = $1 ORDER BY n.seq DESC LIMIT 1
    ) e ON true
    WHERE p.partition = $1
), search (low, high) AS (
    SELECT 0::bigint, h.seq + 1 FROM head h WHERE $3 IS NOT NULL
    UNION ALL
    SELECT CASE WHEN m.ingested_at <= $3 THEN m.seq ELSE s.low END,
           CASE WHEN m.ingested_at <= $3 THEN s.high ELSE m.seq END
    FROM search s
    CROSS JOIN LATERAL (
        SELECT n.seq, n.ingested_at
        FROM events n
        WHERE n.partition = $1
          AND n.seq = (s.low + s.high) / 2
        ORDER BY n.partition, n.seq
        LIMIT 1
    ) m
    WHERE s.high - s.low > 1
), found AS MATERIALIZED (
    SELECT h.seq AS head, h.erasures, coalesce($2, (SELECT max(low) FROM search)) AS seq FROM head h
)
SELECT f.head, f.seq,
       (
           SELECT n.ingested_at
           FROM events n
           WHERE n.partition = $1
             AND n.seq = f.seq
           ORDER BY n.partition, n.seq
           LIMIT 1
       ),
       CASE WHEN pg_is_in_recovery()
            THEN greatest(coalesce(extract(epoch FROM now() - pg_last_xact_replay_timestamp()), 0), 0)
            ELSE 0 END::double precision,
       pg_is_in_recovery(),
       f.erasures
FROM found f
