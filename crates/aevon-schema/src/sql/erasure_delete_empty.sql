-- erasure_delete_empty: series without a bucket
DELETE FROM series s
WHERE s.principal_no = $2
  AND s.rule_no = ANY ($3)
  AND s.partition = $1
  AND NOT EXISTS (
    SELECT FROM pre_aggregates b
    WHERE b.series_no = s.series_no
      AND b.partition = $1
  )
