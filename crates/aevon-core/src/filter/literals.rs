//! The texts that an expression spells out, as they are meant and not as they are written.

use super::check::parts;
use cel::common::ast::{Expr, IdedExpr, LiteralValue};

/// Every text in an expression; bytes that are text too.
pub(super) fn of(root: &IdedExpr) -> Vec<String> {
    let (mut waiting, mut texts) = (vec![root], Vec::new());
    while let Some(expr) = waiting.pop() {
        match &expr.expr {
            Expr::Literal(LiteralValue::String(text)) => texts.push(text.inner().to_owned()),
            Expr::Literal(LiteralValue::Bytes(bytes)) => {
                texts.push(String::from_utf8_lossy(bytes.inner()).into_owned());
            }
            _ => waiting.extend(parts(expr)),
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use crate::filter::Filter;

    #[test]
    fn every_text_is_found_however_it_is_written() {
        for text in [
            r#"principal_id == "a@b""#,
            r"principal_id == 'a\x40b'",
            r#"principal_id == r"""a@b""""#,
            r"data['a@b'] == 1",
            "'a@b' in data",
            "principal_id in ['c', 'a@b']",
            "data.l.exists(x, x == 'a@b')",
            "{'a@b': true}[principal_id]",
            "data.a == 1 ? data.b == 'a@b' : false",
            "!principal_id.startsWith('a@b')",
            r"bytes(principal_id) == b'a\x40b'",
        ] {
            let found = Filter::compile(text).unwrap().literals();
            assert!(found.contains(&"a@b".to_owned()), "{text}: {found:?}");
        }
    }
}
