//! Names that fit where they are used, and stay apart.

use sha2::{Digest, Sha256};

/// Characters of a hash within a name.
pub const SHORT_HASH: usize = 10;

/// The first 16 hexadecimal digits of SHA-256: enough to tell the plans of one pipeline apart.
pub fn hash(text: &[u8]) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A name as it is, or cut to a length in characters with a hash of the whole at its end.
pub fn fit(name: &str, limit: usize) -> String {
    if name.len() <= limit { name.to_owned() } else { cut(name, name, limit) }
}

/// The beginning of `shown` with a hash of `whole`, in `limit` characters at the most.
pub fn cut(shown: &str, whole: &str, limit: usize) -> String {
    let hash = &hash(whole.as_bytes())[..SHORT_HASH];
    let kept: String = shown.chars().take(limit.saturating_sub(SHORT_HASH + 1)).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}
