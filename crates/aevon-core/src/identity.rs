//! Identifiers: what may be one, and where a principal lives.

use xxhash_rust::xxh64::Xxh64;

/// Separates the parts of composed identifiers. Control characters are refused in every
/// identifier, so it can't occur in one.
pub const UNIT_SEPARATOR: char = '\u{1f}';

/// Most bytes of an identifier.
pub const MAX_IDENTIFIER_BYTES: usize = 512;

/// Why a text is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierFault {
    /// Nothing.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`MAX_IDENTIFIER_BYTES`]; how long it is.
    #[error("has {0} bytes; an identifier may have {MAX_IDENTIFIER_BYTES}")]
    TooLong(usize),
    /// NUL, line feed and the like.
    #[error("holds a control character")]
    Control,
}

/// Whether a text can be an identifier; compared byte by byte, never normalized.
///
/// # Errors
/// See [`IdentifierFault`].
pub fn check(text: &str) -> Result<(), IdentifierFault> {
    if text.is_empty() {
        Err(IdentifierFault::Empty)
    } else if text.len() > MAX_IDENTIFIER_BYTES {
        Err(IdentifierFault::TooLong(text.len()))
    } else if text.chars().any(char::is_control) {
        Err(IdentifierFault::Control)
    } else {
        Ok(())
    }
}

/// The partition of a principal among `partitions`.
///
/// Frozen: xxh64 with seed 0 over the tenant's bytes, 0x1F, the principal's bytes, modulo the
/// number of partitions. Changing it would send a principal's next event to another partition.
pub fn partition_of(tenant_id: &str, principal_id: &str, partitions: i32) -> i32 {
    let mut hash = Xxh64::new(0);
    hash.update(tenant_id.as_bytes());
    hash.update(&[UNIT_SEPARATOR as u8]);
    hash.update(principal_id.as_bytes());
    let count = u64::try_from(partitions.max(1)).unwrap_or(1);
    i32::try_from(hash.digest() % count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_frozen() {
        let seen: Vec<i32> = [
            ("acme", "user_123"),
            ("acme", "user_124"),
            ("", ""),
            ("ä", "/"),
        ]
        .iter()
        .map(|(tenant, principal)| partition_of(tenant, principal, 1 << 20))
        .collect();
        assert_eq!(seen, FROZEN);
        assert_ne!(
            partition_of("a", "bc", 1 << 30),
            partition_of("ab", "c", 1 << 30)
        );
    }

    /// Written down once from the published algorithm; never to change.
    const FROZEN: [i32; 4] = [279_169, 513_562, 881_925, 637_148];
}
