//! What an expression gives, as far as that can be seen without an event.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};

/// What an expression gives where that is never a boolean, though one is needed there; `None` where
/// it is one, or may be.
pub(super) fn never_boolean(expr: &IdedExpr) -> Option<&'static str> {
    match &expr.expr {
        Expr::Literal(literal) => match literal {
            LiteralValue::Boolean(_) => None,
            LiteralValue::String(_) => Some("a text"),
            LiteralValue::Bytes(_) => Some("bytes"),
            LiteralValue::Null => Some("null"),
            LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => {
                Some("a number")
            }
        },
        Expr::List(_) => Some("a list"),
        Expr::Map(_) => Some("an object"),
        Expr::Ident(name) => variable(name),
        Expr::Call(call) => result(call),
        // A place in a document, or a loop: that depends on the event, or is a boolean.
        Expr::Unspecified | Expr::Struct(_) | Expr::Select(_) | Expr::Comprehension(_) => None,
    }
}

fn variable(name: &str) -> Option<&'static str> {
    match name {
        "data" | "metadata" => Some("an object"),
        "type" | "principal_id" => Some("a text"),
        "schema_version" => Some("a number"),
        "occurred_at" => Some("an instant"),
        // Types are values.
        _ => Some("a type"),
    }
}

fn result(call: &CallExpr) -> Option<&'static str> {
    match call.func_name.as_str() {
        "_&&_" | "_||_" | "!_" => call.args.iter().find_map(never_boolean),
        "_?_:_" => match call.args.as_slice() {
            [condition, then, otherwise] => never_boolean(condition)
                .or_else(|| never_boolean(then).filter(|_| never_boolean(otherwise).is_some())),
            _ => None,
        },
        "dyn" => call.args.first().and_then(never_boolean),
        "_+_" => Some("a sum"),
        "_-_" | "_*_" | "_/_" | "_%_" | "-_" | "size" | "int" | "uint" | "double" => {
            Some("a number")
        }
        "string" => Some("a text"),
        "bytes" => Some("bytes"),
        "type" => Some("a type"),
        "timestamp" => Some("an instant"),
        "duration" => Some("a duration"),
        name if name.starts_with("get") => Some("a number"),
        _ => None,
    }
}
