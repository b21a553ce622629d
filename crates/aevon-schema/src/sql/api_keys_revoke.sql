-- api_keys_revoke: a good key is refused from then on, and no later than it was to be
UPDATE api_keys
SET revoked_at = least(revoked_at, coalesce($2, now()))
WHERE key_no = $1 AND coalesce(revoked_at > now(), true)
