DROP TABLE discards;
ALTER TABLE sweep_checkpoints DROP COLUMN swept_at, DROP COLUMN sweep_seconds;
DROP VIEW swept_generations;
ALTER TABLE rules
    DROP CONSTRAINT rules_generations,
    DROP CONSTRAINT rules_retired,
    DROP CONSTRAINT rules_retired_is_not_rebuilt,
    DROP COLUMN next_generation,
    DROP COLUMN last_generation,
    DROP COLUMN retired_at;
