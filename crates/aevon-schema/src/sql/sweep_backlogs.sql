-- sweep_backlogs: partitions where a rule is behind, the largest backlog first
SELECT p.partition, min(coalesce(c.seq, 0)) AS checkpoint, max(coalesce(h.seq, 0)) AS head
FROM partitions p
CROSS JOIN rules r
LEFT JOIN sweep_checkpoints c
       ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = p.partition
LEFT JOIN LATERAL (
    SELECT n.seq FROM events n WHERE n.partition = p.partition ORDER BY n.seq DESC LIMIT 1
) h ON true
WHERE r.status <> 'retired'
GROUP BY p.partition
HAVING max(coalesce(h.seq, 0)) > min(coalesce(c.seq, 0))
ORDER BY max(coalesce(h.seq, 0)) - min(coalesce(c.seq, 0)) DESC, p.partition
