-- export_rules: every version of every rule
SELECT r.rule_no, r.name, r.version, r.status, r.retired_at, r.fingerprint, r.definition
FROM rules r
ORDER BY r.rule_no
