//! What springs on which bytes.

/// What happens when the bytes of a trap come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// They are forwarded, and the answer is thrown away.
    SwallowAnswer,
    /// They are not forwarded.
    CutBefore,
    /// They are forwarded, and the answer breaks off.
    TearAnswer,
}

/// Bytes to wait for and what to do then.
#[derive(Debug)]
pub(super) struct Trap {
    pub(super) needle: Vec<u8>,
    pub(super) action: Action,
}

/// The end of what one client has sent, so that bytes split over two reads are found.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

/// Longer needles are found only when they begin in the same read or in the last so many bytes.
const KEPT_BYTES: usize = 1024;

impl Tail {
    /// Takes out the first trap whose bytes are completed by `chunk`.
    pub(super) fn spring(&mut self, chunk: &[u8], traps: &mut Vec<Trap>) -> Option<Action> {
        let found = traps
            .iter()
            .position(|trap| self.completes(chunk, &trap.needle));
        self.0.extend_from_slice(chunk);
        let surplus = self.0.len().saturating_sub(KEPT_BYTES);
        self.0.drain(..surplus);
        found.map(|at| traps.remove(at).action)
    }

    /// Whether `needle` ends in `chunk`: it may begin in the tail, but not lie in it whole.
    fn completes(&self, chunk: &[u8], needle: &[u8]) -> bool {
        let before = &self.0[self.0.len().saturating_sub(needle.len() - 1)..];
        let text = [before, chunk].concat();
        text.windows(needle.len()).any(|window| window == needle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traps() -> Vec<Trap> {
        vec![Trap {
            needle: b"COMMIT".to_vec(),
            action: Action::CutBefore,
        }]
    }

    #[test]
    fn a_trap_springs_once() {
        let (mut tail, mut traps) = (Tail::default(), traps());
        assert_eq!(
            tail.spring(b"xCOMMITx", &mut traps),
            Some(Action::CutBefore)
        );
        assert_eq!(tail.spring(b"xCOMMITx", &mut traps), None);
    }

    #[test]
    fn bytes_that_come_one_at_a_time_are_found() {
        let (mut tail, mut traps) = (Tail::default(), traps());
        for byte in b"COMMI" {
            assert_eq!(tail.spring(&[*byte], &mut traps), None);
        }
        assert_eq!(tail.spring(b"T", &mut traps), Some(Action::CutBefore));
    }

    #[test]
    fn bytes_that_passed_before_the_trap_was_set_do_not_spring_it() {
        let mut tail = Tail::default();
        assert_eq!(tail.spring(b"COMMIT", &mut Vec::new()), None);
        assert_eq!(tail.spring(b"x", &mut traps()), None);
    }
}
