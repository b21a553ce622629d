-- sweep_checkpoints_advance: only from where the slice began
INSERT INTO sweep_checkpoints AS c (rule_no, generation, partition, seq)
SELECT u.rule_no, u.generation, p.partition, $3
FROM partitions p
CROSS JOIN unnest($4, $5) AS u (rule_no, generation)
WHERE p.partition = $1
ON CONFLICT (rule_no, generation, partition) DO UPDATE SET seq = excluded.seq
WHERE c.seq = $2
