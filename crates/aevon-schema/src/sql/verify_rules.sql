-- verify_rules: rule versions, and how far their buckets, or their totals of tenants ($4), are complete
-- in a partition, whose newest seq comes with them; in the order of checkpoints. A retired one without
-- a checkpoint never gets one
SELECT r.rule_no, r.generation, r.version, r.definition, c.seq,
       coalesce((
           SELECT e.seq FROM events e WHERE e.partition = $1 ORDER BY e.partition, e.seq DESC LIMIT 1
       ), 0)
FROM rules r
LEFT JOIN sweep_checkpoints c
       ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = $1
      AND (NOT $4 OR c.totals_seq = c.seq)
WHERE (c.seq IS NOT NULL OR r.status <> 'retired')
  AND ($2::text IS NULL OR r.name = $2)
  AND ($3::integer IS NULL OR r.version = $3)
ORDER BY coalesce(c.seq, 0), r.name, r.version
