//! A pipeline whose input ends, from `kubectl apply` to the last of it, of an operator with rights in two namespaces only.

use std::time::Instant;

use thalweg_e2e::cluster::argo;
use thalweg_e2e::cluster::kubectl::Namespace;
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::wait_for;

use crate::LIMIT;
use crate::ownership::{status, wait_until};
use crate::pipelines::Counts;
use crate::release::{self, image, install};

#[test]
fn a_pipeline_whose_input_ends_is_complete_without_workers_and_leaves_nothing_when_it_is_deleted() {
    let namespace = Namespace::fresh("e2e-bounded");
    let s3 = S3::start(9_102);
    let counts = Counts { name: "counts".to_owned(), rows: 20_000, rate: 4_000 };
    let expected = counts.expected();
    // `helm test` has its pipeline in the first of them, and reads its log in that of the release.
    install(&image(None), &["--set", "watchNamespaces={thalweg,e2e-bounded}"]);
    let installed = Instant::now();
    release::test(&namespace);
    println!("helm test took {:.1?}", installed.elapsed());
    namespace.apply(S3::secret());
    let applied = Instant::now();
    namespace.apply(&counts.manifests(&s3));
    wait_until(&namespace, "counts", "Complete");
    println!("applied: {} rows of input are complete after {:.1?}", counts.rows, applied.elapsed());
    wait_for("no worker of what is complete", LIMIT, || namespace.workers("counts").is_empty().then_some(()));
    assert_eq!(status(&namespace, "counts")["phase"], "Completed");
    let pipeline = namespace.get(&["streampipeline", "counts"]).expect("it is there");
    assert_eq!(argo::health(&pipeline).0, "Healthy", "{pipeline:#}");
    let found = counts.found(&s3);
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "the rows differ from those of an undisturbed run");
    println!("{} rows, each as in an undisturbed run", found.len());

    let state = || s3.names("counts/state/");
    assert!(!state().is_empty(), "units keep their state in the bucket");
    let patch = r#"{"spec": {"deletionPolicy": "Delete"}}"#;
    namespace.succeed(&["patch", "streampipeline", "counts", "--type=merge", "-p", patch]);
    wait_for("the operator's finalizer", LIMIT, || {
        let pipeline = namespace.get(&["streampipeline", "counts"])?;
        pipeline["metadata"]["finalizers"].as_array().filter(|all| !all.is_empty()).map(|_| ())
    });
    let deleted = Instant::now();
    namespace.succeed(&["delete", "streampipeline", "counts", "--wait", "--timeout=90s"]);
    println!("deleted, with its state, after {:.1?}", deleted.elapsed());
    assert_eq!(state().iter().filter(|name| name.contains("/e2e-bounded/")).count(), 0, "{:?}", state());
    assert_eq!(counts.found(&s3).len(), expected.len(), "the output is the user's");
    // The others look after whatever namespace they make.
    install(&image(None), &[]);
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}
