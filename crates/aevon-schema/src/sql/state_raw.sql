-- state_raw: the events of a principal that no bucket of a plan holds: the tail behind the
-- checkpoint that is furthest behind, and parts of minutes, found through the spans of their buckets
WITH chosen AS MATERIALIZED (
    SELECT r.rule_no, r.generation, r.definition ->> 'source_event' AS source_event,
           coalesce(c.seq, 0) AS checkpoint
    FROM rules r
    LEFT JOIN sweep_checkpoints c
           ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = $1
    WHERE r.rule_no IN (
        SELECT a.rule_no FROM answering_rules a WHERE $2 OR a.name = ANY ($3)
        UNION
        SELECT v.rule_no FROM rules v JOIN unnest($4, $5) AS u (name, version)
          ON v.name = u.name AND v.version = u.version
    )
), mark AS MATERIALIZED (
    SELECT q.principal_no, m.seq, m.types
    FROM principals q
    CROSS JOIN (
        SELECT min(checkpoint) AS seq, array_agg(DISTINCT source_event) AS types FROM chosen
    ) m
    WHERE q.tenant_id = $6
      AND q.principal_id = $7
      AND q.partition = $1
), spans AS MATERIALIZED (
    SELECT u.edge_from, u.edge_to, b.epoch, min(b.first_seq) AS first_seq, max(b.last_seq) AS last_seq
    FROM mark m
    CROSS JOIN chosen r
    JOIN series s
      ON s.principal_no = m.principal_no
     AND s.rule_no = r.rule_no
     AND s.generation = r.generation
     AND s.labels_hash = ''
     AND s.partition = $1
    CROSS JOIN unnest($8, $9, $10) AS u (window_start, edge_from, edge_to)
    JOIN LATERAL (
        SELECT n.epoch, n.first_seq, n.last_seq
        FROM pre_aggregates n
        WHERE n.series_no = s.series_no
          AND n.grain = 1
          AND n.window_start = u.window_start
          AND n.partition = $1
    ) b ON true
    GROUP BY u.edge_from, u.edge_to, b.epoch
)
SELECT e.seq, e.occurred_at, e.type, e.data
FROM mark m
CROSS JOIN LATERAL (
    SELECT n.seq, n.occurred_at, n.type, n.data
    FROM events n
    WHERE n.principal_no = m.principal_no
      AND n.seq > m.seq
      AND n.partition = $1
      AND n.occurred_at >= $11
      AND n.occurred_at < $12
      AND n.type = ANY (m.types)
    ORDER BY n.principal_no, n.seq
) e
UNION ALL
SELECT e.seq, e.occurred_at, e.type, e.data
FROM mark m
CROSS JOIN spans s
CROSS JOIN LATERAL (
    SELECT n.seq, n.occurred_at, n.type, n.data
    FROM events n
    WHERE n.principal_no = m.principal_no
      AND n.seq >= s.first_seq
      AND n.seq <= least(s.last_seq, m.seq)
      AND n.partition = $1
      AND n.occurred_at >= s.edge_from
      AND n.occurred_at < s.edge_to
      AND n.type = ANY (m.types)
    ORDER BY n.principal_no, n.seq
) e
