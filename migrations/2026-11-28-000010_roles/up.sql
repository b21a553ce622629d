-- What a role for one service may do, and which programs a schema serves.

-- Whoever locks rows has to be granted the update of a column: of this one, which nobody can give
-- another value.
ALTER TABLE partitions ADD COLUMN row_lock boolean GENERATED ALWAYS AS (true) STORED;
ALTER TABLE sweep_leases ADD COLUMN row_lock boolean GENERATED ALWAYS AS (true) STORED;

-- One row. Written by migrations alone: one that programs which don't know it can't work with, or
-- would answer wrongly on, sets its own version here. Others leave it, and such programs go on.
CREATE TABLE compatibility (
    oldest_schema text NOT NULL,
    is_one_row    boolean PRIMARY KEY DEFAULT true CHECK (is_one_row)
);
INSERT INTO compatibility (oldest_schema) VALUES ('20261128000010');
