-- discards_begin: that a generation is being deleted, from its first series on
INSERT INTO discards AS d (rule_no, generation, partition)
SELECT $1, $2, p.partition FROM partitions p WHERE p.partition = $3
ON CONFLICT (rule_no, generation, partition) DO NOTHING
