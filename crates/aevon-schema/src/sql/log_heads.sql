-- log_heads: the newest seq of each partition
SELECT p.partition, coalesce(h.seq, 0)
FROM partitions p
LEFT JOIN LATERAL (
    SELECT n.seq FROM events n WHERE n.partition = p.partition ORDER BY n.seq DESC LIMIT 1
) h ON true
WHERE $1::int[] IS NULL OR p.partition = ANY ($1)
ORDER BY p.partition
