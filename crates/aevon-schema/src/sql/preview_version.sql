-- preview_version: the newest version of a name
SELECT r.version, r.fingerprint, r.status
FROM rules r
WHERE r.name = $1
ORDER BY r.version DESC
LIMIT 1
