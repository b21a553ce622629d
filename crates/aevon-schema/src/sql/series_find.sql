-- series_find: the numbers of series
SELECT s.principal_no, s.rule_no, s.series_no
FROM unnest($2, $3, $4) AS u (principal_no, rule_no, generation)
JOIN series s
  ON s.principal_no = u.principal_no
 AND s.rule_no = u.rule_no
 AND s.generation = u.generation
 AND s.labels_hash = ''
 AND s.partition = $1
