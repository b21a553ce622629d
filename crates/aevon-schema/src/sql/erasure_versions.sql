-- erasure_versions: every version of every rule that ever was
SELECT r.rule_no, r.version, r.definition
FROM rules r
ORDER BY r.rule_no
