-- events_insert: the accepted rows of a group, already numbered
INSERT INTO events AS ev (seq, principal_no, occurred_at, ingested_at, partition, schema_version,
                          event_id, type, data, metadata)
SELECT u.seq, u.principal_no, u.occurred_at, u.ingested_at, p.partition, u.schema_version,
       u.event_id, u.type, u.data, u.metadata
FROM partitions p
JOIN unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     AS u (seq, principal_no, occurred_at, ingested_at, partition, schema_version,
           event_id, type, data, metadata)
  ON u.partition = p.partition
WHERE p.partition = ANY ($1)
