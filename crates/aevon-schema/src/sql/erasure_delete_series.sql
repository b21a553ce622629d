-- erasure_delete_series: the series that a principal has of some rules
DELETE FROM series s
WHERE s.principal_no = $2
  AND s.rule_no = ANY ($3)
  AND s.partition = $1
