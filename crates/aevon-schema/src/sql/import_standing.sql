-- import_standing: what is here of the import of an export ($1), of others, and of anything else
SELECT EXISTS (SELECT FROM imports i WHERE i.export_hash = $1),
       EXISTS (SELECT FROM imports i WHERE i.export_hash = $1 AND i.finished_at IS NOT NULL),
       EXISTS (SELECT FROM imports i WHERE i.export_hash <> $1),
       EXISTS (SELECT FROM principals) OR EXISTS (SELECT FROM events) OR EXISTS (SELECT FROM rules)
           OR EXISTS (SELECT FROM erasures)
