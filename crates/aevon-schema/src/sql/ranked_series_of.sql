CROSS JOIN LATERAL (
        SELECT n.series_no
        FROM series n
        WHERE n.principal_no = p.principal_no
          AND n.rule_no = $2
          AND n.generation = (SELECT r.generation FROM rules r WHERE r.rule_no = $2)
          AND n.labels_hash >= $8
          AND n.labels_hash <= $9
        OFFSET 0
    ) s
