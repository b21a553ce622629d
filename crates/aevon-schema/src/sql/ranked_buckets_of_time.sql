-- ranked_buckets_of_time: of many principals at once: those of the range, found through the totals that
-- they are parts of
JOIN series s
  ON s.principal_no = p.principal_no
 AND s.rule_no = $2
 AND s.generation = (SELECT r.generation FROM rules r WHERE r.rule_no = $2)
 AND s.labels_hash >= $8
 AND s.labels_hash <= $9
JOIN ({parts}) b ON b.series_no = s.series_no
