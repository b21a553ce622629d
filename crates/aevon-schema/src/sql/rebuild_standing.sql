-- rebuild_standing: how far two generations are in each partition that has events, and whether both
-- keep totals of tenants there; nothing where the one that is built was given up
SELECT p.partition, coalesce(live.seq, 0), coalesce(built.seq, 0), h.seq,
       coalesce(live.totals_seq = live.seq AND built.totals_seq = built.seq, false)
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
