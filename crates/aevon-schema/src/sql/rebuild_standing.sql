-- rebuild_standing: how far two generations are in each partition that has events; nothing where the
-- one that is built was given up
SELECT p.partition, coalesce(live.seq, 0), coalesce(built.seq, 0), h.seq
FROM partitions p
JOIN rules r ON r.rule_no = $1 AND r.next_generation = $3
LEFT JOIN sweep_checkpoints live
       ON live.rule_no = $1 AND live.generation = $2 AND live.partition = p.partition
LEFT JOIN sweep_checkpoints built
       ON built.rule_no = $1 AND built.generation = $3 AND built.partition = p.partition
JOIN LATERAL (
    SELECT n.seq FROM events n WHERE n.partition = p.partition ORDER BY n.seq DESC LIMIT 1
) h ON true
ORDER BY p.partition
