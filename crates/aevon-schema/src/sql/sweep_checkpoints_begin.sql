-- sweep_checkpoints_begin: for generations that have none in the partition; their totals of tenants
-- are kept, and named by the buckets that are parts of them, from the first event on
INSERT INTO sweep_checkpoints AS c (rule_no, generation, partition, seq, totals_seq, links_seq,
                                    swept_at, sweep_seconds)
SELECT u.rule_no, u.generation, p.partition, $2, $2, $2, now(), $5
FROM partitions p
CROSS JOIN unnest($3, $4) AS u (rule_no, generation)
WHERE p.partition = $1
ON CONFLICT (rule_no, generation, partition) DO NOTHING
