-- verify_count: how many principals there are, of a tenant or of all
SELECT count(*) FROM principals q WHERE $1::text IS NULL OR q.tenant_id = $1
