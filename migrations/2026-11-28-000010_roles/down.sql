DROP TABLE compatibility;
ALTER TABLE sweep_leases DROP COLUMN row_lock;
ALTER TABLE partitions DROP COLUMN row_lock;
