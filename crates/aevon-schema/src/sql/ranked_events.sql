-- ranked_events: state_events of several principals ($1), each in places of its own, as of positions
-- ($7) of the partitions
SELECT e.seq, e.occurred_at, e.type, e.schema_version, e.data,
       CASE WHEN $8 THEN e.metadata END, u.principal_no, u.partition
FROM unnest($1, $2, $3, $4, $5, $6)
  AS u (principal_no, partition, first_seq, last_seq, occurred_from, occurred_to)
CROSS JOIN LATERAL (
    SELECT n.seq, n.occurred_at, n.type, n.schema_version, n.data, n.metadata
    FROM events n
    WHERE n.principal_no = u.principal_no
      AND n.seq >= u.first_seq
      AND n.seq <= u.last_seq
      AND n.partition = u.partition
      AND n.occurred_at >= u.occurred_from
      AND n.occurred_at < u.occurred_to
      AND n.type = $9
      -- The comparison of rows and the order keep the planner from reading every void of the
      -- principal for each event.
      AND coalesce((
        SELECT w.void_seq
        FROM voids w
        WHERE w.principal_no = n.principal_no
          AND (w.target_seq, w.partition) >= ROW (n.seq, u.partition)
          AND (w.target_seq, w.partition) <= ROW (n.seq, u.partition)
          AND w.partition = u.partition
        ORDER BY w.target_seq
        LIMIT 1
      ) > ($7)[u.partition + 1], true)
    ORDER BY n.principal_no, n.seq
) e
