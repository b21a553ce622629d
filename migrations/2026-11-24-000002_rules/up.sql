-- What is computed. Written by whoever applies a set of rules; what stands here is swept.
CREATE TABLE rules (
    rule_no     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text COLLATE "C" NOT NULL,
    version     integer NOT NULL CHECK (version > 0),
    generation  integer NOT NULL DEFAULT 1,
    fingerprint text    NOT NULL,
    definition  jsonb   NOT NULL,
    status      text    NOT NULL CHECK (status IN ('building', 'active', 'retired')),
    CONSTRAINT rules_identity UNIQUE (name, version)
);

-- At most one version of a name answers.
CREATE UNIQUE INDEX rules_one_active ON rules (name) WHERE status = 'active';

-- The version of each name that answers: the active one; a brand-new one while it builds.
CREATE VIEW answering_rules AS
SELECT r.rule_no, r.name, r.version, r.generation, r.definition, r.status
FROM rules r
WHERE r.status = 'active'
   OR (r.status = 'building' AND NOT EXISTS (
        SELECT FROM rules o
        WHERE o.name = r.name
          AND (o.status = 'active' OR (o.status = 'building' AND o.version > r.version))
   ));
