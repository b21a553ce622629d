-- discards_series_delete: series that have no bucket any more
DELETE FROM series AS s
USING unnest($4, $5) AS u (principal_no, series_no)
WHERE s.principal_no = u.principal_no
  AND s.rule_no = $1
  AND s.generation = $2
  AND s.partition = $3
  AND s.series_no = u.series_no
