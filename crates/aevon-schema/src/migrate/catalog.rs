//! What a schema consists of, as text to compare, and whether another one only adds to it.

use std::collections::BTreeMap;
use tokio_postgres::Client;

/// Every object of a schema: its kind and name, and all there is to say of it.
pub(super) type Catalog = BTreeMap<(String, String), String>;

const QUERY: &str = "
WITH ours AS (
    SELECT c.oid, c.relname, c.relkind, c.reloptions, c.relpartbound
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE '\\_\\_diesel%'
), relations AS (SELECT * FROM ours WHERE relkind IN ('r', 'p', 'v'))
SELECT 'relation' AS kind, relname::text AS name, concat_ws(' ', relkind,
       pg_get_expr(relpartbound, oid), CASE relkind WHEN 'p' THEN pg_get_partkeydef(oid) END) AS says
FROM relations
UNION ALL
SELECT 'options', relname, concat_ws(' ', reloptions::text,
       (SELECT string_agg(attname || ':' || attstorage::text, ',' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = oid AND attnum > 0 AND NOT attisdropped))
FROM relations
UNION ALL
SELECT 'column', r.relname || '.' || a.attname, concat_ws(' ',
       format_type(a.atttypid, a.atttypmod), (SELECT nullif(collname, 'default') FROM pg_collation WHERE oid = a.attcollation),
       CASE WHEN a.attnotnull THEN 'not null' END, nullif(a.attidentity, ''), nullif(a.attgenerated, ''),
       'defaults to ' || pg_get_expr(d.adbin, d.adrelid))
FROM relations r
JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
UNION ALL
SELECT 'constraint', r.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
FROM relations r JOIN pg_constraint k ON k.conrelid = r.oid AND k.contype <> 'n'
UNION ALL
SELECT CASE WHEN i.indisunique THEN 'unique index' ELSE 'index' END,
       r.relname || '.' || i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
FROM relations r JOIN pg_index i ON i.indrelid = r.oid
UNION ALL
SELECT 'trigger', r.relname || '.' || t.tgname, pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
UNION ALL
SELECT 'view', relname, pg_get_viewdef(oid) FROM relations WHERE relkind = 'v'
UNION ALL
SELECT 'sequence', o.relname, format_type(s.seqtypid, NULL) || ' ' || s.seqincrement || ' ' || s.seqstart
FROM ours o JOIN pg_sequence s ON s.seqrelid = o.oid
UNION ALL
SELECT 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid)
FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
";

pub(super) async fn read(client: &Client) -> Catalog {
    let rows = client.query(QUERY, &[]).await.unwrap();
    rows.iter()
        .map(|row| ((row.get("kind"), row.get("name")), row.get("says")))
        .collect()
}

/// Why programs that know `before` may not work with `after`: what is gone, what is another thing,
/// and what asks more of a table that they write.
pub(super) fn contractions(before: &Catalog, after: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    for ((kind, name), says) in before {
        match after.get(&(kind.clone(), name.clone())) {
            _ if kind == "options" => {}
            None => found.push(format!("{kind} {name} is gone")),
            Some(now) if now != says => found.push(format!("{kind} {name} was {says}, is {now}")),
            Some(_) => {}
        }
    }
    for ((kind, name), says) in after {
        let is_new = !before.contains_key(&(kind.clone(), name.clone()));
        let table = name.split('.').next().unwrap_or_default().to_owned();
        let is_on_old = before.contains_key(&("relation".to_owned(), table));
        let asks = match kind.as_str() {
            "column" => says.contains("not null") && !says.contains("defaults to "),
            "constraint" | "unique index" | "trigger" => true,
            _ => false,
        };
        if is_new && is_on_old && asks {
            found.push(format!(
                "{kind} {name} is new on a table that was there: {says}"
            ));
        }
    }
    found
}
