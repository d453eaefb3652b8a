//! Why a store fails, as far as it matters to those who asked.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// What a store's failure is due to. It is shared, since one failure can have many who
/// must hear of it.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

/// Why the store failed. Nothing of the batch was done.
#[derive(Debug, Clone)]
pub(crate) enum StoreError {
    /// The disk is full.
    Full,
    /// What was asked for, or something that the batch had to touch, is damaged or
    /// contradicts itself; the store as a whole works. Trying again does not help.
    Damaged(Cause),
    /// Another server holds something that the batch had to touch, for too long. Trying again helps, and
    /// what else was in the batch may be done before that.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "a file has one writer")
    )]
    Locked(Cause),
    /// Anything else.
    Failed(Cause),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full => f.write_str("the disk is full"),
            StoreError::Damaged(cause) => write!(f, "the database is damaged here: {cause}"),
            StoreError::Locked(cause) | StoreError::Failed(cause) => {
                write!(f, "the database failed: {cause}")
            }
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StoreError::Full => None,
            StoreError::Damaged(cause) | StoreError::Locked(cause) | StoreError::Failed(cause) => {
                Some(&**cause)
            }
        }
    }
}
