-- export_events: the next events of a partition up to its head, with what each void voids
SELECT e.seq, e.principal_no, e.occurred_at, e.ingested_at, e.schema_version, e.event_id, e.type,
       e.data, e.metadata, w.target_seq, w.target_occurred_at
FROM (
    SELECT g.partition, g.seq, g.principal_no, g.occurred_at, g.ingested_at, g.schema_version, g.event_id,
           g.type, g.data, g.metadata
    FROM events g
    WHERE g.partition = $1
      AND g.seq > $2
      AND g.seq <= $3
    ORDER BY g.partition, g.seq
    LIMIT $4
) e
LEFT JOIN LATERAL (
    SELECT v.target_seq, v.target_occurred_at
    FROM voids v
    WHERE e.type = 'aevon.void'
      AND v.partition = $1
      AND v.void_seq = e.seq
    ORDER BY v.partition, v.void_seq
    LIMIT 1
) w ON true
ORDER BY e.seq
