-- sweep_checkpoints_lags: where each version stands in each partition that has events
SELECT r.name, r.version, p.partition, coalesce(c.seq, 0), h.seq,
       coalesce(extract(epoch FROM now() - o.ingested_at), 0)::double precision,
       c.swept_at, c.sweep_seconds
FROM rules r
CROSS JOIN partitions p
JOIN LATERAL (
    SELECT n.seq FROM events n WHERE n.partition = p.partition ORDER BY n.seq DESC LIMIT 1
) h ON true
LEFT JOIN sweep_checkpoints c
       ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = p.partition
LEFT JOIN LATERAL (
    SELECT n.ingested_at FROM events n
    WHERE n.partition = p.partition AND n.seq = coalesce(c.seq, 0) + 1
) o ON true
WHERE r.name = $1 OR ($1::text IS NULL AND r.status <> 'retired')
ORDER BY r.name, r.version, p.partition
