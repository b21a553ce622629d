-- status_lag: where the buckets of every rule version stand in every partition, and the age in
-- seconds of the oldest event that they don't hold; when they were written last, and how long that
-- took
SELECT r.rule_no, r.name, r.version, r.status, p.partition, coalesce(c.seq, 0), coalesce(h.seq, 0),
       coalesce(extract(epoch FROM now() - o.ingested_at), 0)::double precision,
       c.swept_at, c.sweep_seconds, r.next_generation IS NOT NULL
FROM rules r
CROSS JOIN partitions p
LEFT JOIN sweep_checkpoints c
       ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = p.partition
LEFT JOIN LATERAL (
    SELECT n.seq FROM events n WHERE n.partition = p.partition ORDER BY n.seq DESC LIMIT 1
) h ON true
LEFT JOIN LATERAL (
    SELECT n.ingested_at FROM events n
    WHERE n.partition = p.partition AND n.seq = coalesce(c.seq, 0) + 1
) o ON true
WHERE $1::text IS NULL OR r.name = $1
ORDER BY r.name, r.version, p.partition
