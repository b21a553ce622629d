-- partitions_lock: takes the locks that order the log, ascending
SELECT partition, erasures
FROM partitions
WHERE partition = ANY ($1)
ORDER BY partition
FOR UPDATE
