-- rebuild_compare: the buckets of two generations of some principals: how many there are, how many
-- differ, and the first that does
WITH sides AS MATERIALIZED (
    SELECT s.generation, s.principal_no, coalesce(q.tenant_id, t.tenant_id) AS tenant_id,
           q.principal_id, s.labels_hash, s.labels,
           b.grain, b.window_start, b.epoch, b.operator, b.event_count, b.skipped_count,
           b.first_seq, b.last_seq, b.last_void_seq,
           -- Where everything was taken out again nothing is left, or 0: an erasure folds what is left.
           CASE b.event_count WHEN 0 THEN nullif(b.value, 0) ELSE b.value END AS value,
           b.latest_at, b.latest_seq,
           CASE b.event_count WHEN 0 THEN nullif(b.moment, 0) ELSE b.moment END AS moment,
           b.sketch
    FROM unnest($5) AS u (principal_no)
    JOIN series s
      ON s.principal_no = u.principal_no
     AND s.rule_no = $2
     AND s.generation IN ($3, $4)
     AND s.partition = $1
    LEFT JOIN principals q ON q.principal_no = s.principal_no AND q.partition = $1
    LEFT JOIN tenants t ON t.tenant_no = s.principal_no AND t.partition = $1
    JOIN LATERAL (
        SELECT n.*
        FROM pre_aggregates n
        WHERE n.series_no = s.series_no AND n.partition = $1
        OFFSET 0
    ) b ON true
), pairs AS (
    SELECT live AS one, built AS other,
           (live.operator, live.event_count, live.skipped_count, live.first_seq, live.last_seq,
            live.last_void_seq, live.value, live.latest_at, live.latest_seq, live.moment, live.sketch)
           IS DISTINCT FROM
           (built.operator, built.event_count, built.skipped_count, built.first_seq, built.last_seq,
            built.last_void_seq, built.value, built.latest_at, built.latest_seq, built.moment,
            built.sketch) AS differs
    FROM (SELECT * FROM sides WHERE generation = $3) live
    FULL JOIN (SELECT * FROM sides WHERE generation = $4) built
      USING (principal_no, labels_hash, grain, window_start, epoch)
)
SELECT count(*),
       count(*) FILTER (WHERE differs),
       (array_agg(to_jsonb(one)) FILTER (WHERE differs))[1],
       (array_agg(to_jsonb(other)) FILTER (WHERE differs))[1]
FROM pairs
