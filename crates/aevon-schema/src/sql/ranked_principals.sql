-- ranked_principals: whether a tenant has more than so many principals
SELECT EXISTS (
    SELECT FROM principals p WHERE p.tenant_id = $1 ORDER BY p.principal_id OFFSET $2 LIMIT 1
)
