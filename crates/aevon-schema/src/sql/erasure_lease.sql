-- erasure_lease: the right to write the buckets of a partition, once its sweeper gives it back
SELECT l.partition FROM sweep_leases l WHERE l.partition = $1 FOR UPDATE
