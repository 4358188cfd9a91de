//! Values of Secrets and ConfigMaps, from a folder laid out as Kubernetes mounts them: `DIR/NAME/KEY`.

use std::path::PathBuf;

use thalweg_connectors::registry::Values;
use thalweg_core::error::{Error, Result};
use thalweg_crds::secret::ValueFrom;

/// The folder that `--secrets` names.
pub struct Mounted(pub Option<PathBuf>);

impl Values for Mounted {
    fn read(&self, from: &ValueFrom) -> Result<Vec<u8>> {
        let Some(key) = from.secret_key_ref.as_ref().or(from.config_map_key_ref.as_ref()) else {
            return Err(Error::user("a reference to a value", "it names neither a Secret nor a ConfigMap"));
        };
        let what = format!("reading key `{}` of `{}`", key.key, key.name);
        let Some(folder) = &self.0 else {
            let hint = format!("give --secrets DIR, where DIR/{}/{} holds the value", key.name, key.key);
            return Err(Error::user(what, "no folder with secrets was given").with_hint(hint));
        };
        let path = folder.join(&key.name).join(&key.key);
        let hint = format!("expected the value in the file {}", path.display());
        std::fs::read(&path).map_err(|error| Error::user(what, error).with_hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use thalweg_crds::secret::KeyRef;

    use super::*;

    fn reference() -> ValueFrom {
        let key = KeyRef { name: "kafka".to_owned(), key: "password".to_owned() };
        ValueFrom { secret_key_ref: Some(key), config_map_key_ref: None }
    }

    #[test]
    fn a_value_is_read_as_kubernetes_mounts_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("kafka")).expect("made");
        std::fs::write(folder.path().join("kafka/password"), "s3cret").expect("written");
        assert_eq!(Mounted(Some(folder.path().to_owned())).read(&reference()).expect("read"), b"s3cret");
    }

    #[test]
    fn a_missing_folder_says_where_the_value_is_expected() {
        let error = Mounted(None).read(&reference()).expect_err("no folder");
        assert_eq!(
            error.to_string(),
            "reading key `password` of `kafka`: no folder with secrets was given (give --secrets DIR, where \
             DIR/kafka/password holds the value)"
        );
    }
}
