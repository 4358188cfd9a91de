//! Small objects: create if absent, read whole, list a level.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use thalweg_core::append_log::Appended;
use thalweg_core::error::Result;

use crate::error::from_objects;

/// Creates an object unless one stands there. After a request that was retried, `Exists` may mean one's own object.
pub(crate) async fn create(objects: &dyn ObjectStore, path: &Path, content: Bytes) -> Result<Appended> {
    let options = PutOptions::from(PutMode::Create);
    match objects.put_opts(path, content.into(), options).await {
        Ok(_) => Ok(Appended::Created),
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
            Ok(Appended::Exists)
        }
        Err(error) => Err(from_objects(format!("creating `{path}` under the state's URL"), &error)),
    }
}

/// An object's content.
pub(crate) async fn read(objects: &dyn ObjectStore, path: &Path) -> Result<Option<Bytes>> {
    let what = || format!("reading `{path}` under the state's URL");
    match objects.get(path).await {
        Ok(found) => found.bytes().await.map(Some).map_err(|error| from_objects(what(), &error)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(from_objects(what(), &error)),
    }
}

/// Whether an object stands there.
pub(crate) async fn exists(objects: &dyn ObjectStore, path: &Path) -> Result<bool> {
    match objects.head(path).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(from_objects(format!("looking for `{path}` under the state's URL"), &error)),
    }
}

/// Names of the folders right under a path.
pub(crate) async fn folders(objects: &dyn ObjectStore, path: &Path) -> Result<Vec<String>> {
    let listed = objects
        .list_with_delimiter(Some(path))
        .await
        .map_err(|error| from_objects(format!("listing `{path}` under the state's URL"), &error))?;
    Ok(listed.common_prefixes.iter().filter_map(|folder| folder.filename()).map(str::to_owned).collect())
}
