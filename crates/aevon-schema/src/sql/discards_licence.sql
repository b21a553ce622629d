-- discards_licence: the licence of a generation goes before its buckets
DELETE FROM sweep_checkpoints c
WHERE c.rule_no = $1 AND c.generation = $2 AND c.partition = $3
