DROP INDEX pre_aggregates_1d_windows, pre_aggregates_1h_windows, pre_aggregates_1m_windows;
ALTER TABLE sweep_checkpoints DROP COLUMN totals_seq;
-- A schema that knows no tenants would take their series for those of principals.
DELETE FROM pre_aggregates b
USING series s, tenants t
WHERE s.principal_no = t.tenant_no
  AND s.partition = t.partition
  AND b.series_no = s.series_no
  AND b.partition = t.partition;
DELETE FROM series s USING tenants t WHERE s.principal_no = t.tenant_no AND s.partition = t.partition;
DROP TABLE tenants;
