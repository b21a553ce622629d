-- erasure_tenant: the number of a tenant in a partition
SELECT t.tenant_no FROM tenants t WHERE t.tenant_id = $2 AND t.partition = $1
