-- state_rules: the rule versions asked for, and their checkpoints in a partition
SELECT r.rule_no, r.name, r.version, r.definition, c.seq
FROM rules r
LEFT JOIN sweep_checkpoints c
       ON c.rule_no = r.rule_no AND c.generation = r.generation AND c.partition = $1
WHERE r.rule_no IN (
    SELECT a.rule_no FROM answering_rules a WHERE $2 OR a.name = ANY ($3)
    UNION
    SELECT v.rule_no FROM rules v JOIN unnest($4, $5) AS u (name, version)
      ON v.name = u.name AND v.version = u.version
)
ORDER BY r.name, r.version
