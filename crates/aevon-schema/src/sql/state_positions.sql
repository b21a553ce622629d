-- state_positions: of several partitions the newest row, the one that a version ($3) or an instant ($4)
-- of ingestion comes down to, and whether a tenant has principals there; see state_position
WITH RECURSIVE head AS MATERIALIZED (
    SELECT u.partition, u.version, coalesce(e.seq, 0) AS seq
    FROM unnest($2, $3) AS u (partition, version)
    LEFT JOIN LATERAL (
        SELECT n.seq
        FROM events n
        WHERE n.partition = u.partition
        ORDER BY n.partition DESC, n.seq DESC
        LIMIT 1
    ) e ON true
), search (partition, low, high) AS (
    SELECT h.partition, 0::bigint, h.seq + 1 FROM head h WHERE $4 IS NOT NULL
    UNION ALL
    SELECT s.partition,
           CASE WHEN m.ingested_at <= $4 THEN m.seq ELSE s.low END,
           CASE WHEN m.ingested_at <= $4 THEN s.high ELSE m.seq END
    FROM search s
    CROSS JOIN LATERAL (
        SELECT n.seq, n.ingested_at
        FROM events n
        WHERE n.partition = s.partition
          AND n.seq = (s.low + s.high) / 2
        ORDER BY n.partition, n.seq
        LIMIT 1
    ) m
    WHERE s.high - s.low > 1
), found AS MATERIALIZED (
    SELECT h.partition, h.seq AS head,
           coalesce(h.version, (SELECT max(s.low) FROM search s WHERE s.partition = h.partition),
                    h.seq) AS seq
    FROM head h
)
SELECT f.partition, f.head, f.seq,
       (
           SELECT n.ingested_at
           FROM events n
           WHERE n.partition = f.partition
             AND n.seq = f.seq
           ORDER BY n.partition, n.seq
           LIMIT 1
       ),
       EXISTS (
           SELECT FROM principals p
           WHERE p.tenant_id = $1
             AND p.partition = f.partition
           OFFSET 0
       ),
       CASE WHEN pg_is_in_recovery()
            THEN greatest(coalesce(extract(epoch FROM now() - pg_last_xact_replay_timestamp()), 0), 0)
            ELSE 0 END::double precision,
       pg_is_in_recovery(),
       (SELECT p.erasures FROM partitions p WHERE p.partition = f.partition)
FROM found f
ORDER BY f.partition
