-- sweep_backlogs: partitions where a generation is behind, the largest backlog first, with the age of its
-- oldest event in seconds
SELECT b.partition, b.checkpoint, b.head,
       coalesce(extract(epoch FROM now() - o.ingested_at), 0)::double precision
FROM (
    SELECT p.partition, min(coalesce(c.seq, 0)) AS checkpoint, max(coalesce(h.seq, 0)) AS head
    FROM partitions p
    CROSS JOIN swept_generations r
    LEFT JOIN sweep_checkpoints c
           ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = p.partition
    LEFT JOIN LATERAL (
        SELECT n.seq FROM events n WHERE n.partition = p.partition ORDER BY n.seq DESC LIMIT 1
    ) h ON true
    GROUP BY p.partition
    HAVING max(coalesce(h.seq, 0)) > min(coalesce(c.seq, 0))
) b
LEFT JOIN LATERAL (
    SELECT n.ingested_at FROM events n WHERE n.partition = b.partition AND n.seq = b.checkpoint + 1
) o ON true
ORDER BY b.head - b.checkpoint DESC, b.partition
