-- rebuild_begin: the active version of a name, with the generation that is being built
UPDATE rules AS r
SET next_generation = coalesce(r.next_generation, r.last_generation + 1),
    last_generation = greatest(r.last_generation, coalesce(r.next_generation, r.last_generation + 1))
WHERE r.name = $1
  AND r.status = 'active'
RETURNING r.rule_no, r.version, r.generation, r.next_generation, r.definition
