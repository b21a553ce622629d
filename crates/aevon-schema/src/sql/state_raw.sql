-- state_raw: the events of a principal that no bucket of a plan holds: the tail behind the
-- checkpoint that is furthest behind, and parts of minutes, found through the spans of their
-- buckets. The ungrouped series is kept beside groups, so its spans cover theirs. Rules that look
-- back also see what lies before the range. What is voided does not stand; most principals have no
-- voids, and then no event is looked up. The comparison of rows and the order keep the planner from
-- reading every void of the principal for each event
WITH chosen AS MATERIALIZED (
    SELECT r.rule_no, r.generation, r.definition ->> 'source_event' AS source_event,
           r.definition ->> 'operator' = ANY ($15) AS looks_back,
           r.definition ? 'filter' AS is_filtered,
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
    SELECT q.principal_no, m.seq, m.types, m.types_before, m.is_filtered,
           EXISTS (
               SELECT FROM voids w WHERE w.principal_no = q.principal_no AND w.partition = $1 OFFSET 0
           ) AS has_voids
    FROM principals q
    CROSS JOIN (
        SELECT min(checkpoint) AS seq, array_agg(DISTINCT source_event) AS types,
               array_agg(source_event) FILTER (WHERE looks_back) AS types_before,
               bool_or(is_filtered) AS is_filtered
        FROM chosen
    ) m
    WHERE q.tenant_id = $6
      AND q.principal_id = $7
      AND q.partition = $1
), spans AS MATERIALIZED (
    SELECT d.edge_from, d.edge_to, b.epoch, min(b.first_seq) AS first_seq, max(b.last_seq) AS last_seq
    FROM mark ms
    CROSS JOIN chosen cs
    JOIN series s
      ON s.principal_no = ms.principal_no
     AND s.rule_no = cs.rule_no
     AND s.generation = cs.generation
     AND s.labels_hash = ''
     AND s.partition = $1
    CROSS JOIN unnest($8, $9, $10, $11, $12)
      AS d (window_from, window_to, edge_from, edge_to, before)
    -- OFFSET 0 keeps the planner from reading every minute of the series.
    JOIN LATERAL (
        SELECT k.epoch, k.first_seq, k.last_seq
        FROM pre_aggregates k
        WHERE k.series_no = s.series_no
          AND k.grain = 1
          AND k.window_start >= d.window_from
          AND k.window_start < d.window_to
          AND k.partition = $1
        OFFSET 0
    ) b ON true
    WHERE NOT d.before OR cs.looks_back
    GROUP BY d.edge_from, d.edge_to, b.epoch
)
SELECT e.seq, e.occurred_at, e.type, e.schema_version, e.data, e.metadata
FROM mark mt
CROSS JOIN LATERAL (
    SELECT t.seq, t.occurred_at, t.type, t.schema_version, t.data,
           CASE WHEN mt.is_filtered THEN t.metadata END AS metadata
    FROM events t
    WHERE t.principal_no = mt.principal_no
      AND t.seq > mt.seq
      AND t.partition = $1
      AND (t.occurred_at >= $13 OR t.type = ANY (mt.types_before))
      AND t.occurred_at < $14
      AND t.type = ANY (mt.types)
      AND (NOT mt.has_voids OR (
        SELECT w.void_seq
        FROM voids w
        WHERE w.principal_no = t.principal_no
          AND (w.target_seq, w.partition) >= ROW (t.seq, $1)
          AND (w.target_seq, w.partition) <= ROW (t.seq, $1)
          AND w.partition = $1
        ORDER BY w.target_seq
        LIMIT 1
      ) IS NULL)
    ORDER BY t.principal_no, t.seq
) e
UNION ALL
SELECT e.seq, e.occurred_at, e.type, e.schema_version, e.data, e.metadata
FROM mark me
CROSS JOIN spans p
CROSS JOIN LATERAL (
    SELECT g.seq, g.occurred_at, g.type, g.schema_version, g.data,
           CASE WHEN me.is_filtered THEN g.metadata END AS metadata
    FROM events g
    WHERE g.principal_no = me.principal_no
      AND g.seq >= p.first_seq
      AND g.seq <= least(p.last_seq, me.seq)
      AND g.partition = $1
      AND g.occurred_at >= p.edge_from
      AND g.occurred_at < p.edge_to
      AND g.type = ANY (me.types)
      AND (NOT me.has_voids OR (
        SELECT w.void_seq
        FROM voids w
        WHERE w.principal_no = g.principal_no
          AND (w.target_seq, w.partition) >= ROW (g.seq, $1)
          AND (w.target_seq, w.partition) <= ROW (g.seq, $1)
          AND w.partition = $1
        ORDER BY w.target_seq
        LIMIT 1
      ) IS NULL)
    ORDER BY g.principal_no, g.seq
) e
