-- series_find: the numbers of series, each with its place in the question, from 1
SELECT u.place, s.series_no
FROM unnest($2, $3, $4, $5) WITH ORDINALITY
     AS u (principal_no, rule_no, generation, labels_hash, place)
JOIN series s
  ON s.principal_no = u.principal_no
 AND s.rule_no = u.rule_no
 AND s.generation = u.generation
 AND s.labels_hash = u.labels_hash
 AND s.partition = $1
