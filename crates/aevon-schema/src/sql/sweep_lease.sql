-- sweep_lease: the right to sweep a partition, until the transaction ends
SELECT partition FROM sweep_leases WHERE partition = $1 FOR UPDATE SKIP LOCKED
