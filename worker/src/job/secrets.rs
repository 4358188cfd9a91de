//! Values of Secrets and ConfigMaps, from folders laid out as Kubernetes mounts them: `DIR/NAME/KEY`.

use std::path::PathBuf;

use thalweg_connectors::registry::{ReadAgain, Values, again};
use thalweg_core::error::{Error, Result};
use thalweg_crds::secret::ValueFrom;

/// Where values are mounted. Each is read when it is asked for, so that a changed one counts at the next connection.
#[derive(Clone, Debug, Default)]
pub struct Mounted {
    secrets: Option<PathBuf>,
    configs: Option<PathBuf>,
}

impl Mounted {
    /// One folder for both, as `--secrets` names it.
    pub fn together(folder: Option<PathBuf>) -> Self {
        Self { configs: folder.clone(), secrets: folder }
    }

    /// A folder for Secrets and one for ConfigMaps: they may bear equal names.
    pub fn apart(secrets: PathBuf, configs: PathBuf) -> Self {
        Self { secrets: Some(secrets), configs: Some(configs) }
    }
}

impl Values for Mounted {
    fn read(&self, from: &ValueFrom) -> Result<Vec<u8>> {
        let (key, folder) = match (&from.secret_key_ref, &from.config_map_key_ref) {
            (Some(key), _) => (key, &self.secrets),
            (None, Some(key)) => (key, &self.configs),
            (None, None) => {
                return Err(Error::user("a reference to a value", "it names neither a Secret nor a ConfigMap"));
            }
        };
        let what = format!("reading key `{}` of `{}`", key.key, key.name);
        let Some(folder) = folder else {
            let hint = format!("give --secrets DIR, where DIR/{}/{} holds the value", key.name, key.key);
            return Err(Error::user(what, "no folder with secrets was given").with_hint(hint));
        };
        for part in [&key.name, &key.key] {
            if !is_name(part) {
                return Err(Error::user(what, format!("`{part}` is no name of a Secret, a ConfigMap or a key in one")));
            }
        }
        let path = folder.join(&key.name).join(&key.key);
        let hint = format!("expected the value in the file {}", path.display());
        std::fs::read(&path).map_err(|error| Error::user(what, error).with_hint(hint))
    }

    fn read_again(&self, from: &ValueFrom) -> ReadAgain {
        again(self, from)
    }
}

/// What Kubernetes takes as a name or a key: nothing that leads out of a folder.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !matches!(text, "" | "." | "..") && text.chars().all(is_plain)
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
        let mounted = Mounted::together(Some(folder.path().to_owned()));
        assert_eq!(mounted.read(&reference()).expect("read"), b"s3cret");
    }

    #[test]
    fn a_secret_and_a_config_map_of_one_name_are_two_values() {
        let folder = tempfile::tempdir().expect("a folder");
        for (kind, value) in [("secrets", "s3cret"), ("configs", "public")] {
            std::fs::create_dir_all(folder.path().join(kind).join("kafka")).expect("made");
            std::fs::write(folder.path().join(kind).join("kafka/password"), value).expect("written");
        }
        let mounted = Mounted::apart(folder.path().join("secrets"), folder.path().join("configs"));
        let config = ValueFrom { secret_key_ref: None, config_map_key_ref: reference().secret_key_ref };
        assert_eq!(mounted.read(&reference()).expect("read"), b"s3cret");
        assert_eq!(mounted.read(&config).expect("read"), b"public");
    }

    #[test]
    fn no_reference_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("secrets/kafka")).expect("made");
        std::fs::write(folder.path().join("outside"), "s3cret").expect("written");
        let mounted = Mounted::together(Some(folder.path().join("secrets")));
        for (name, key) in [("..", "outside"), ("kafka", "../../outside"), (".", "."), ("/etc", "hostname"), ("", "")] {
            let key = KeyRef { name: name.to_owned(), key: key.to_owned() };
            let from = ValueFrom { secret_key_ref: Some(key), config_map_key_ref: None };
            let error = mounted.read(&from).expect_err("outside").to_string();
            assert!(error.contains("is no name of a Secret"), "{error}");
        }
    }

    #[test]
    fn a_missing_folder_says_where_the_value_is_expected() {
        let error = Mounted::default().read(&reference()).expect_err("no folder");
        assert_eq!(
            error.to_string(),
            "reading key `password` of `kafka`: no folder with secrets was given (give --secrets DIR, where \
             DIR/kafka/password holds the value)"
        );
    }
}
