-- distribute_citus: the plain schema as distributed tables of one colocation group, by partition, so that
-- everything of a partition lives on one node

-- Distributed tables have no triggers: grants hold the log append-only from here on.
DROP TRIGGER events_are_immutable ON events;
DROP TRIGGER voids_are_immutable ON voids;

SELECT create_distributed_table('partitions', 'partition', colocate_with => 'none');
SELECT create_distributed_table('principals', 'partition', colocate_with => 'partitions');
SELECT create_distributed_table('tenants', 'partition', colocate_with => 'partitions');
SELECT create_distributed_table('events', 'partition', colocate_with => 'partitions');
SELECT create_distributed_table('voids', 'partition', colocate_with => 'partitions');
SELECT create_distributed_table('series', 'partition', colocate_with => 'partitions');
SELECT create_distributed_table('pre_aggregates', 'partition', colocate_with => 'partitions');
SELECT create_distributed_table('sweep_checkpoints', 'partition', colocate_with => 'partitions');
SELECT create_distributed_table('sweep_leases', 'partition', colocate_with => 'partitions');
SELECT create_distributed_table('discards', 'partition', colocate_with => 'partitions');

-- On every node, as statements about one partition join them. Identity columns can't be distributed: a
-- sequence numbers the rows.
CREATE SEQUENCE rule_numbers AS integer;
SELECT setval('rule_numbers', coalesce(max(rule_no), 0) + 1, false) FROM rules;
ALTER TABLE rules ALTER COLUMN rule_no DROP IDENTITY;
ALTER TABLE rules ALTER COLUMN rule_no SET DEFAULT nextval('rule_numbers');
SELECT create_reference_table('rules');
