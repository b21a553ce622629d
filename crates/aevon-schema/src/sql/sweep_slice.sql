-- sweep_slice: the events of a slice that any of its rules reads
SELECT e.seq, e.principal_no, e.occurred_at, e.ingested_at, e.type, e.data
FROM events e
WHERE e.partition = $1
  AND e.seq > $2
  AND e.seq <= $3
  AND e.type = ANY ($4)
ORDER BY e.partition, e.seq
