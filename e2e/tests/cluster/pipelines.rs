//! Pipelines that tests run, and what an undisturbed run of them gives.

use std::path::Path;
use std::process::Command;

use thalweg_e2e::binary;
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::manifest::Manifest;

/// Trips counted by zone and window, from made-up input, into a bucket; state in the same bucket.
pub struct Counts {
    /// The pipeline's name.
    pub name: String,
    /// Input rows.
    pub rows: u32,
    /// Input rows a second.
    pub rate: u32,
}

impl Counts {
    /// Its resources as they are applied.
    pub fn manifests(&self, s3: &S3) -> String {
        let (settings, name) = (s3.settings(), &self.name);
        let sink = format!("url: 's3://bucket/{name}/out', roll: {{ every: 1s }}, s3: {settings}");
        let state = format!("url: 's3://bucket/{name}/state', commitEvery: 1s, keyGroups: 4, s3: {settings}");
        self.resources(&format!("rowsPerSecond: {}, ", self.rate), &sink, &state)
    }

    fn resources(&self, rate: &str, sink: &str, state: &str) -> String {
        let Self { name, rows, .. } = self;
        let (trips, counts) = (format!("{name}-trips"), format!("{name}-counts"));
        let sql = "INSERT INTO counts \
                   SELECT window_start, pickup_location_id AS zone, COUNT(*) AS trips, SUM(trip_id) AS ids \
                   FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(pickup_datetime), INTERVAL '1' SECOND)) \
                   GROUP BY window_start, window_end, pickup_location_id";
        Manifest::default()
            .source(&trips, &["trip_id BIGINT", "pickup_datetime TIMESTAMP(3)", "pickup_location_id INT"])
            .connector(&format!("generator: {{ taxi: {{}}, seed: 7, rows: {rows}, {rate}splits: 3 }}"))
            .spec("watermark: { column: pickup_datetime, delay: 5s }")
            .sink(&counts)
            .connector(&format!("files: {{ {sink} }}"))
            .pipeline(name, &[&format!("{trips}, as: trips")], &[&format!("{counts}, as: counts")], sql)
            .spec(&format!("state: {{ {state} }}"))
            .to_string()
    }

    /// The lines that the sink holds in the end, sorted: what `thalweg run` makes of the same input, undisturbed.
    pub fn expected(&self) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let manifests = self.resources("", "url: out", "commitEvery: 1s, keyGroups: 4");
        std::fs::write(folder.path().join("pipeline.yaml"), manifests).expect("written");
        let mut run = Command::new(binary());
        let output = run.args(["run", "pipeline.yaml"]).current_dir(folder.path()).output().expect("thalweg runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut lines = lines(&folder.path().join("out"));
        lines.sort();
        assert!(!lines.is_empty(), "an undisturbed run has rows");
        lines
    }

    /// The lines that stand in the bucket, sorted.
    pub fn found(&self, s3: &S3) -> Vec<String> {
        s3.lines(&format!("{}/out/", self.name))
    }
}

/// Runs `thalweg WORDS` against the cluster; what it printed.
pub fn say(words: &[&str]) -> String {
    let output = Command::new(binary()).args(words).output().expect("thalweg was built");
    let (said, amiss) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "thalweg {}: {said}{amiss}", words.join(" "));
    said.into_owned()
}

fn lines(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).expect("output").map(|entry| entry.expect("readable").path());
    let visible = files.filter(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    visible
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("text");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}
