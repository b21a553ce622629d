-- append_rehearsal: rows of 1.5 kB, kept as they are, that together need a page of their own; rolled
-- back always
INSERT INTO events AS ev (seq, principal_no, occurred_at, ingested_at, partition, schema_version,
                          event_id, type, data, metadata)
SELECT $2 + g.n, 0, now(), now(), p.partition, 0, 'rehearsal ' || g.n, 'aevon.rehearsal',
       jsonb_build_object('ballast', repeat('x', 1500)), '{}'
FROM partitions p
CROSS JOIN generate_series(1, 8) AS g (n)
WHERE p.partition = $1
