//! An item of a body: what became of one event, and the codes by which a caller is told.

use super::read::Refused;
use crate::queue::Decided;
use crate::rejected::Kept;
use aevon_core::append::Verdict;
use aevon_core::event::{Fault, FaultCode, NewEvent, is_foreign};
use aevon_core::position::Position;
use aevon_core::time::Timestamp;
use aevon_service::problem::{Code, ProblemItem};

/// One item of a body.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its id, where it could be read.
    pub(super) id: Option<String>,
    pub(crate) outcome: Outcome,
}

/// What became of an item.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Stored now.
    Accepted(Position, Timestamp),
    /// Stored before.
    Duplicate(Position, Timestamp),
    /// Not stored because another event of its body was not, which is atomic.
    Withheld,
    /// Not stored for what it is.
    Rejected(Box<Rejection>),
}

/// Why an item was not stored, and what may be kept of it.
#[derive(Debug)]
pub(crate) struct Rejection {
    /// Of the whole.
    pub(crate) code: Code,
    pub(super) faults: Vec<Fault>,
    /// Whose it is, where that could be read; may be taken.
    pub(crate) tenant_id: Option<String>,
    /// As it was sent, where it could not be read; may be taken.
    pub(crate) kept: Option<Kept>,
    /// The event, where it could; may be taken.
    pub(crate) event: Option<Box<NewEvent>>,
}

impl Rejection {
    /// Whether it is nobody's to look at.
    pub(crate) fn is_foreign(&self) -> bool {
        is_foreign(&self.faults)
    }

    /// Each fault, as callers are told.
    pub(crate) fn problem_items(&self) -> Vec<ProblemItem> {
        items(None, None, &self.faults, self.code)
    }

    /// The code of the whole, then those of its faults.
    pub(crate) fn codes(&self) -> Vec<&'static str> {
        let mut codes = vec![self.code.as_str()];
        if self.code == Code::InvalidEvent {
            for fault in &self.faults {
                let code = public_code(fault.code).as_str();
                if !codes.contains(&code) {
                    codes.push(code);
                }
            }
        }
        codes
    }
}

impl Item {
    /// The item of an event that was decided.
    pub(crate) fn decided(id: String, decided: Decided) -> Self {
        let rejected = |code, faults| {
            let event = decided.refused;
            Outcome::Rejected(Box::new(Rejection {
                code,
                faults,
                tenant_id: event.as_ref().map(|event| event.tenant_id.clone()),
                kept: None,
                event,
            }))
        };
        let outcome = match decided.verdict {
            Verdict::Accepted {
                position,
                ingested_at,
            } => Outcome::Accepted(position, ingested_at),
            Verdict::Duplicate {
                position,
                ingested_at,
            } => Outcome::Duplicate(position, ingested_at),
            Verdict::Conflict(fields) => {
                let differs = "differs from the event that is stored under this id";
                // Its code is replaced by that of the whole, which a fault has no variant for.
                let fault = |field| Fault::new(Some(field), FaultCode::InvalidField, differs);
                rejected(Code::EventConflict, fields.into_iter().map(fault).collect())
            }
            Verdict::Refused(faults) => rejected(whole_code(&faults), faults),
            Verdict::Withheld => Outcome::Withheld,
        };
        Self {
            id: Some(id),
            outcome,
        }
    }

    /// The item of an event that could not be read.
    pub(crate) fn refused(refused: Refused) -> Self {
        let Refused { refusal, kept } = refused;
        let rejection = Rejection {
            code: whole_code(&refusal.faults),
            faults: refusal.faults,
            tenant_id: refusal.tenant_id,
            kept,
            event: None,
        };
        Self {
            id: refusal.id,
            outcome: Outcome::Rejected(Box::new(rejection)),
        }
    }

    /// The item of an event whose body is atomic and holds one that could not be read.
    pub(crate) fn withheld(id: String) -> Self {
        Self {
            id: Some(id),
            outcome: Outcome::Withheld,
        }
    }

    /// Its id and why it was not stored for what it is, if it was not.
    pub(crate) fn rejection(&mut self) -> (Option<&str>, Option<&mut Rejection>) {
        let rejection = match &mut self.outcome {
            Outcome::Rejected(rejection) => Some(&mut **rejection),
            Outcome::Accepted(..) | Outcome::Duplicate(..) | Outcome::Withheld => None,
        };
        (self.id.as_deref(), rejection)
    }

    pub(super) fn is_rejected(&self) -> bool {
        matches!(self.outcome, Outcome::Rejected(_))
    }
}

/// The code of a whole that has these faults.
pub(super) fn whole_code(faults: &[Fault]) -> Code {
    match faults {
        [fault] => public_code(fault.code),
        _ => Code::InvalidEvent,
    }
}

fn public_code(code: FaultCode) -> Code {
    match code {
        FaultCode::MalformedBody => Code::MalformedBody,
        FaultCode::MissingField => Code::MissingField,
        FaultCode::UnknownField => Code::UnknownField,
        FaultCode::InvalidField => Code::InvalidField,
        FaultCode::NumberOutOfBounds => Code::NumberOutOfBounds,
        FaultCode::IdentifierTooLong => Code::IdentifierTooLong,
        FaultCode::OccurredAtInFuture => Code::OccurredAtInFuture,
        FaultCode::ReservedType => Code::ReservedType,
        FaultCode::EventTooLarge => Code::EventTooLarge,
        FaultCode::UnknownSchema => Code::UnknownSchema,
        FaultCode::SchemaMismatch => Code::SchemaMismatch,
        FaultCode::UnknownVoidTarget => Code::UnknownVoidTarget,
        FaultCode::AlreadyVoided => Code::AlreadyVoided,
        FaultCode::Forbidden => Code::Forbidden,
    }
}

/// Each fault, as callers are told.
pub(super) fn items(
    index: Option<usize>,
    id: Option<&str>,
    faults: &[Fault],
    whole: Code,
) -> Vec<ProblemItem> {
    let code = |fault: &Fault| match whole {
        Code::EventConflict => whole.as_str(),
        _ => public_code(fault.code).as_str(),
    };
    let item = |fault: &Fault| ProblemItem {
        index,
        id: id.map(str::to_owned),
        field: fault.field.clone(),
        code: code(fault).to_owned(),
        detail: fault.detail.clone(),
    };
    faults.iter().map(item).collect()
}
