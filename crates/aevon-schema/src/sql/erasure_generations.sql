-- erasure_generations: how far the buckets of some rules are complete in a partition, and whether totals
-- are; in the order of their checkpoints
SELECT c.rule_no, c.generation, c.seq, coalesce(c.totals_seq = c.seq, false)
FROM sweep_checkpoints c
WHERE c.partition = $1
  AND c.rule_no = ANY ($2)
ORDER BY c.seq, c.rule_no, c.generation
