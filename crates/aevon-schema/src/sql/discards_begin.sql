-- discards_begin: the licence goes first
WITH licence AS (
    DELETE FROM sweep_checkpoints c
    WHERE c.rule_no = $1 AND c.generation = $2 AND c.partition = $3
)
INSERT INTO discards AS d (rule_no, generation, partition)
SELECT $1, $2, p.partition FROM partitions p WHERE p.partition = $3
ON CONFLICT (rule_no, generation, partition) DO NOTHING
