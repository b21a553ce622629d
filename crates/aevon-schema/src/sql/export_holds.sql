-- export_holds: whether the log has these events, each with its stamp
SELECT NOT EXISTS (
    SELECT
    FROM unnest($1, $2, $3) AS u (partition, seq, ingested_at)
    LEFT JOIN LATERAL (
        SELECT n.ingested_at
        FROM events n
        WHERE n.partition = u.partition
          AND n.seq = u.seq
        ORDER BY n.partition, n.seq
        LIMIT 1
    ) e ON true
    WHERE e.ingested_at IS DISTINCT FROM u.ingested_at
)
