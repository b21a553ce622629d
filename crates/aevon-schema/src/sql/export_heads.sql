-- export_heads: the newest event of each partition that has one
SELECT p.partition, h.seq, h.ingested_at
FROM partitions p
CROSS JOIN LATERAL (
    SELECT n.seq, n.ingested_at
    FROM events n
    WHERE n.partition = p.partition
    ORDER BY n.seq DESC
    LIMIT 1
) h
ORDER BY p.partition
