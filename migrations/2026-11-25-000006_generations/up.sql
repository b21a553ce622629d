-- Buckets of a rule version may be built anew beside those that answer, and go when nobody needs
-- them.
ALTER TABLE rules
    -- While a rebuild fills it; then it becomes the generation.
    ADD COLUMN next_generation integer,
    -- The highest that was ever begun: a number is never used twice.
    ADD COLUMN last_generation integer NOT NULL DEFAULT 1,
    ADD COLUMN retired_at timestamptz;
UPDATE rules SET retired_at = now() WHERE status = 'retired';
ALTER TABLE rules
    ADD CONSTRAINT rules_generations CHECK (
        generation <= last_generation
        AND next_generation > generation
        AND next_generation <= last_generation
    ),
    ADD CONSTRAINT rules_retired CHECK ((status = 'retired') = (retired_at IS NOT NULL)),
    ADD CONSTRAINT rules_retired_is_not_rebuilt CHECK (status <> 'retired' OR next_generation IS NULL);

-- What sweeps keep complete.
CREATE VIEW swept_generations AS
SELECT r.rule_no, r.generation, r.definition FROM rules r WHERE r.status <> 'retired'
UNION ALL
SELECT r.rule_no, r.next_generation, r.definition FROM rules r WHERE r.next_generation IS NOT NULL;

ALTER TABLE sweep_checkpoints
    -- When it was moved last, and how long the slice had taken by then.
    ADD COLUMN swept_at timestamptz,
    ADD COLUMN sweep_seconds double precision;

-- Generations whose checkpoint is gone and whose buckets are being deleted, a few at a time.
CREATE TABLE discards (
    rule_no      integer NOT NULL,
    generation   integer NOT NULL,
    partition    integer NOT NULL,
    -- The series of principals below it are gone.
    principal_no bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (rule_no, generation, partition)
);
