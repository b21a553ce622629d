DROP TABLE sweep_leases;
DROP TABLE sweep_checkpoints;
DROP TABLE pre_aggregates;
DROP TABLE series;
DROP SEQUENCE series_numbers;
