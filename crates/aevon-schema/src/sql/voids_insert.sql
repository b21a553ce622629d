-- voids_insert: what the accepted voids of a group void
INSERT INTO voids AS w (principal_no, target_seq, void_seq, target_occurred_at, partition)
SELECT u.principal_no, u.target_seq, u.void_seq, u.target_occurred_at, p.partition
FROM partitions p
JOIN unnest($2, $3, $4, $5, $6)
     AS u (principal_no, target_seq, void_seq, target_occurred_at, partition)
  ON u.partition = p.partition
WHERE p.partition = ANY ($1)
