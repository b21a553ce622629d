-- log_ahead: a position that the log has not come to, and its head there; nothing on a replica, whose
-- log may be behind
SELECT u.partition, coalesce(h.seq, 0)
FROM unnest($1, $2) AS u (partition, seq)
LEFT JOIN LATERAL (
    SELECT n.seq FROM events n WHERE n.partition = u.partition ORDER BY n.seq DESC LIMIT 1
) h ON true
WHERE u.seq > coalesce(h.seq, 0)
  AND NOT pg_is_in_recovery()
ORDER BY u.partition
LIMIT 1
