-- state_rules_of: the rule versions asked for, and their checkpoints in each of several partitions ($5):
-- of their buckets, of totals of tenants, and of what buckets say of these
SELECT r.rule_no, r.version, r.definition,
       coalesce(p.buckets, '{}'), coalesce(p.totals, '{}'), coalesce(p.links, '{}')
FROM rules r
CROSS JOIN LATERAL (
    SELECT array_agg(c.seq ORDER BY u.place) AS buckets,
           array_agg(CASE WHEN c.totals_seq = c.seq THEN c.seq END ORDER BY u.place) AS totals,
           array_agg(
               CASE WHEN c.totals_seq = c.seq AND c.links_seq = c.seq THEN c.seq END ORDER BY u.place
           ) AS links
    FROM unnest($5) WITH ORDINALITY AS u (partition, place)
    LEFT JOIN sweep_checkpoints c
           ON c.rule_no = r.rule_no
          AND c.generation = r.generation
          AND c.partition = u.partition
) p
WHERE r.rule_no IN (
    SELECT a.rule_no FROM answering_rules a WHERE $1 OR a.name = ANY ($2)
    UNION
    SELECT v.rule_no FROM rules v JOIN unnest($3, $4) AS u (name, version)
      ON v.name = u.name AND v.version = u.version
)
ORDER BY r.name, r.version
