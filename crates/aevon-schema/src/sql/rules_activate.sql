-- rules_activate: building versions that lag less than a slice in every partition
SELECT r.rule_no, r.name
FROM rules r
WHERE r.status = 'building'
  AND NOT EXISTS (
    SELECT FROM partitions p
    LEFT JOIN sweep_checkpoints c
           ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = p.partition
    LEFT JOIN LATERAL (
        SELECT n.seq FROM events n WHERE n.partition = p.partition ORDER BY n.seq DESC LIMIT 1
    ) h ON true
    WHERE coalesce(h.seq, 0) - coalesce(c.seq, 0) > $1
  )
ORDER BY r.rule_no
