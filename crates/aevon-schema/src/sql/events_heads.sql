-- events_heads: the newest row of each partition, and the stamp that this commit gets there
SELECT p.partition,
       coalesce(e.seq, 0),
       greatest(coalesce($2, clock_timestamp()), e.ingested_at + interval '1 microsecond')
FROM partitions p
LEFT JOIN LATERAL (
    SELECT n.seq, n.ingested_at
    FROM events n
    WHERE n.partition = p.partition
      AND n.partition = ANY ($1)
    ORDER BY n.seq DESC
    LIMIT 1
) e ON true
WHERE p.partition = ANY ($1)
