-- ranked_sums: what principals of a tenant add up to by a rule whose buckets Postgres can add up, as of
-- positions ($5) of the partitions, which may be the newest ($13): what their order takes. Whoever is
-- added up is a number `no`: of a principal, or, where nothing is grouped and there are many, of the
-- one series of each, so that most need not be looked up.
-- The parts of a plan have places: its day, its two hours and minutes, then the day, the hour and the
-- minute before it; a place without a part is null. Where their buckets come from is put in.
-- A row that does not stand at the version is not added; its principal is one to be refined. Of whom a
-- void is known that the buckets do not hold yet, nothing stands.
-- These come, and those of whom more is known ($11), and of the others the first so many ($12) by value
-- behind a value ($14) where a page begins there, whoever has the value of the last, and whoever has the
-- one where the page begins. Aggregates that nobody needs are planned away
WITH voided AS MATERIALIZED (
    SELECT DISTINCT {unit} AS no
    FROM unnest($4, $5) WITH ORDINALITY AS u (checkpoint, seq, place)
    CROSS JOIN LATERAL (
        SELECT n.principal_no
        FROM voids n
        WHERE n.partition = u.place - 1
          AND n.void_seq > u.checkpoint
          AND n.void_seq <= u.seq
        -- Keeps the planner from reading every void there is.
        OFFSET 0
    ) p
    {series}
), known AS MATERIALIZED (
    SELECT {unit} AS no
    FROM unnest($11) AS u (principal_id)
    JOIN principals p ON p.tenant_id = $1 AND p.principal_id = u.principal_id
    {series}
), added AS (
{added}
), judged AS MATERIALIZED (
    SELECT a.*,
           a.no IN (SELECT v.no FROM voided v) AS is_voided,
           CASE $3
               WHEN 1 THEN a.event_count
               WHEN 2 THEN coalesce(a.value, 0)
               WHEN 3 THEN a.value
               WHEN 4 THEN a.value
           END AS rank
    FROM added a
), last AS MATERIALIZED (
    SELECT j.rank
    FROM judged j
    WHERE NOT coalesce(j.is_refined, false)
      AND NOT j.is_voided
      AND j.has_any
      AND ($14 IS NULL OR j.rank < $14)
      AND j.no NOT IN (SELECT k.no FROM known k)
    ORDER BY j.rank DESC NULLS LAST
    OFFSET $12 - 1
    LIMIT 1
), chosen AS (
    SELECT j.*
    FROM judged j
    WHERE j.is_refined
       OR j.is_voided
       OR j.no IN (SELECT k.no FROM known k)
       OR (j.has_any
           AND ((SELECT count(l.rank) FROM last l) = 0 OR j.rank >= (SELECT l.rank FROM last l))
           AND ($14 IS NULL OR j.rank IS NULL OR j.rank <= $14))
)
SELECT p.principal_id, coalesce(c.event_count, 0)::bigint, c.value, c.moment, NULL::timestamptz,
       NULL::bigint, NULL::bytea, c.value_before, c.has_any, coalesce(c.is_refined, false),
       c.is_voided, c.no
FROM chosen c
CROSS JOIN LATERAL (
    {named}
    OFFSET 0
) p
