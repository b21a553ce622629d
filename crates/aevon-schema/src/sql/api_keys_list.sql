-- api_keys_list: the key of a number, or every key
SELECT k.key_no, k.secret_hash, k.tenant_id, k.scopes, k.created_at, k.revoked_at,
       coalesce(k.revoked_at <= now(), false)
FROM api_keys k
WHERE $1 IS NULL OR k.key_no = $1
ORDER BY k.key_no
