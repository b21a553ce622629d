-- rules_list: every version, with how far its buckets are behind the log
SELECT r.rule_no, r.name, r.version, r.fingerprint, r.definition, r.status,
       coalesce(sum(h.seq - coalesce(c.seq, 0)) FILTER (WHERE h.seq > coalesce(c.seq, 0)), 0)::bigint,
       coalesce(max(extract(epoch FROM now() - o.ingested_at)), 0)::double precision,
       max(c.swept_at),
       (array_agg(c.sweep_seconds ORDER BY c.swept_at DESC NULLS LAST))[1],
       r.next_generation IS NOT NULL,
       r.retired_at
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
GROUP BY r.rule_no
ORDER BY r.name, r.version
