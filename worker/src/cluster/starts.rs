//! How often this pod's container has started: with the pod's UID, a name that no other process ever has.

use std::io;
use std::path::Path;

use super::error::ClusterError;

/// Counts this start, durably enough that the next container of the pod sees it. The first is 0, as in the pod's status.
pub fn count(path: &Path) -> Result<u64, ClusterError> {
    let failed = |error: io::Error| ClusterError::File {
        path: path.to_owned(),
        said: error.to_string(),
        expected: "a worker counts its starts there: mount an emptyDir that it may write",
    };
    let earlier = match std::fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|error| failed(io::Error::other(error)))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(error)),
    };
    let beside = path.with_extension("new");
    std::fs::write(&beside, format!("{}\n", earlier + 1)).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    Ok(earlier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_number_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("starts");
        let counted: Vec<_> = (0..3).map(|_| count(&path).expect("counted")).collect();
        assert_eq!(counted, [0, 1, 2]);
    }

    #[test]
    fn a_start_that_cannot_be_counted_is_refused() {
        let error = count(Path::new("/nowhere/at/all")).expect_err("no folder");
        assert!(error.to_string().contains("mount an emptyDir"), "{error}");
    }
}
