-- import_rules: versions of rules, without buckets
INSERT INTO rules (rule_no, name, version, status, retired_at, fingerprint, definition)
OVERRIDING SYSTEM VALUE
SELECT u.rule_no, u.name, u.version, u.status, u.retired_at, u.fingerprint, u.definition
FROM unnest($1, $2, $3, $4, $5, $6, $7)
     AS u (rule_no, name, version, status, retired_at, fingerprint, definition)
