-- api_keys_create: a new key
INSERT INTO api_keys (secret_hash, tenant_id, scopes) VALUES ($1, $2, $3) RETURNING key_no
