//! Folders, URLs, locks.

use thalweg_core::error::ErrorKind;
use thalweg_state::{RootOptions, Sharing, StateRoot};

async fn refusal(url: &str) -> thalweg_core::error::Error {
    StateRoot::open(url, &RootOptions::default()).await.map(|_| ()).expect_err("refused")
}

#[tokio::test]
async fn a_second_opener_of_a_folder_is_refused_until_the_first_lets_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = folder.path().to_str().expect("UTF-8");
    let first = StateRoot::open(url, &RootOptions::default()).await.expect("opens");

    let error = refusal(url).await;
    assert_eq!(error.kind, ErrorKind::User);
    assert_eq!(
        error.to_string(),
        format!(
            "state folder `{url}`: another `thalweg` (process {}) holds it (stop that one first, or give this one a \
             folder of its own with `--state`)",
            std::process::id()
        )
    );

    let installation = first.installation().to_owned();
    drop(first);
    let again = StateRoot::open(url, &RootOptions::default()).await.expect("opens again");
    assert_eq!(again.installation(), installation, "the installation id is made once");
}

#[tokio::test]
async fn workers_whose_units_are_assigned_share_a_folder_and_nobody_else_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = folder.path().to_str().expect("UTF-8");
    let assigned = RootOptions { sharing: Sharing::Assigned, ..RootOptions::default() };
    let workers = [StateRoot::open(url, &assigned).await, StateRoot::open(url, &assigned).await];
    assert!(workers.iter().all(Result::is_ok));
    assert_eq!(refusal(url).await.kind, ErrorKind::User);
    drop(workers);
    let alone = StateRoot::open(url, &RootOptions::default()).await.expect("nobody holds it");
    let refused = StateRoot::open(url, &assigned).await.map(|_| ()).expect_err("it is held");
    assert_eq!(refused.kind, ErrorKind::User);
    drop(alone);
}

#[tokio::test]
async fn a_missing_folder_is_made_and_a_file_in_its_place_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("a/b");
    StateRoot::open(inner.to_str().expect("UTF-8"), &RootOptions::default()).await.expect("opens");

    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let error = refusal(file.to_str().expect("UTF-8")).await;
    assert_eq!(error.kind, ErrorKind::User);
    assert!(error.to_string().contains("choose a folder that can be written"), "{error}");
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused_with_what_is_expected() {
    let error = refusal("gs://bucket/state").await;
    assert_eq!(error.kind, ErrorKind::User);
    assert_eq!(
        error.to_string(),
        "state URL `gs://bucket/state`: found `gs://`, expected a folder, or s3://bucket/prefix"
    );
}

#[tokio::test]
async fn credentials_in_a_url_are_refused_and_never_shown() {
    let error = refusal("s3://AKIA7:s3cr3t@bucket/state").await.to_string();
    assert!(
        error.starts_with("state URL: it holds credentials; expected a folder, or s3://bucket/prefix ("),
        "{error}"
    );
    assert!(!error.contains("AKIA7") && !error.contains("s3cr3t"), "{error}");
}

#[tokio::test]
async fn an_operator_names_the_installation() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = RootOptions { installation: Some("made-by-the-operator".to_owned()), ..RootOptions::default() };
    let root = StateRoot::open(folder.path().to_str().expect("UTF-8"), &options).await.expect("opens");
    assert_eq!(root.installation(), "made-by-the-operator");
}
