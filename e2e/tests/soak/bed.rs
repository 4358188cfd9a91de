//! Everything that a soak starts.

use thalweg_e2e::bank::{COPIES, Pipelines, SUMS, State};
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::workers::{Fleet, Proxy, told};

use crate::settings::Settings;

/// Partitions of the input, to begin with.
pub const PARTITIONS: i32 = 12;
/// Units of the windows.
pub const KEY_GROUPS: u32 = 6;
/// Workers of each pipeline.
pub const WORKERS: usize = 3;
/// How often units commit, in milliseconds.
pub const COMMIT_EVERY_MS: u64 = 500;

/// Broker, store, coordinator, workers.
pub struct Bed {
    /// The broker.
    pub kafka: Kafka,
    /// What stands before the store of state.
    pub store: Option<Proxy>,
    /// Coordinator and workers.
    pub fleet: Fleet,
    _s3: Option<S3>,
}

impl Bed {
    /// Starts everything.
    pub async fn start(settings: &Settings) -> Self {
        let kafka = Kafka::start();
        kafka.make_bank(PARTITIONS).await;
        let s3 = (!settings.in_folder).then(S3::anywhere);
        let store = s3.as_ref().map(|s3| Proxy::to(s3.address()));
        let state = match (&s3, &store) {
            (Some(s3), Some(proxy)) => State::Bucket(s3.settings_through(proxy.address())),
            _ => State::Folder("./state".to_owned()),
        };
        let pipelines = Pipelines {
            broker: kafka.address(),
            state,
            commit_every_ms: COMMIT_EVERY_MS,
            key_groups: KEY_GROUPS,
            workers: WORKERS,
        };
        let silence = settings.silence_seconds.to_string();
        let fleet = Fleet::new(&pipelines.manifest(), &["--silence", &silence]);
        let mut bed = Self { kafka, store, fleet, _s3: s3 };
        bed.add_workers();
        bed
    }

    fn add_workers(&mut self) {
        let secrets = self.fleet.path().join("secrets");
        S3::write_secret(&secrets);
        let secrets = secrets.to_string_lossy().into_owned();
        for pipeline in [COPIES, SUMS] {
            for _ in 0..WORKERS {
                self.fleet.add_worker(pipeline, &["--secrets", &secrets, "--log", told::LOG]);
            }
        }
    }
}
