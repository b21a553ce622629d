-- erasure_delete_buckets: the buckets that a principal has of some rules
DELETE FROM pre_aggregates b
USING series s
WHERE s.principal_no = $2
  AND s.rule_no = ANY ($3)
  AND s.partition = $1
  AND b.series_no = s.series_no
  AND b.partition = $1
