-- sweep_standing: where each generation that is swept stands in a partition, whether it keeps totals
-- of tenants, and the partition's head
SELECT r.rule_no, r.generation, r.definition, coalesce(c.seq, 0),
       c.seq IS NULL OR coalesce(c.totals_seq = c.seq, false), coalesce(h.seq, 0)
FROM swept_generations r
LEFT JOIN sweep_checkpoints c
       ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = $1
LEFT JOIN LATERAL (
    SELECT n.seq FROM events n WHERE n.partition = $1 ORDER BY n.seq DESC LIMIT 1
) h ON true
ORDER BY r.rule_no, r.generation
