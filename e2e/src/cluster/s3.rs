//! An S3 server that pods reach: moto, see `scripts/s3-server`.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::web;
use crate::{bound, wait_for};

const START: Duration = Duration::from_secs(60);

/// A server with one bucket. It ends with this value.
#[derive(Debug)]
pub struct S3 {
    server: Child,
    address: SocketAddr,
}

impl S3 {
    /// Starts a server at a port, with an empty bucket named `bucket`.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(port: u16) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/s3-server");
        let host = super::host();
        let mut command = bound(script);
        command.args([&port.to_string(), &host]).stdout(Stdio::null()).stderr(Stdio::null());
        let address = SocketAddr::new(host.parse().expect("an address"), port);
        let mut s3 = Self { server: command.spawn().expect("scripts/s3-server"), address };
        wait_for("S3 server", START, || {
            assert!(s3.server.try_wait().expect("a child").is_none(), "scripts/s3-server ended: run it to see why");
            web::request(address, "PUT", "/bucket").filter(|(status, _)| *status == 200)
        });
        s3
    }

    /// [`S3::start`] at a port that is free.
    ///
    /// # Panics
    /// It does not start.
    pub fn anywhere() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        Self::start(port)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is, as an URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `s3` of a resource, in flow style. The Secret is [`S3::secret`].
    pub fn settings(&self) -> String {
        self.settings_through(self.address)
    }

    /// [`S3::settings`], by way of another address.
    pub fn settings_through(&self, address: SocketAddr) -> String {
        format!(
            "{{ endpoint: 'http://{address}', region: us-east-1, allowHttp: true, \
             accessKeyFrom: {{ secretKeyRef: {{ name: s3, key: id }} }}, \
             secretKeyFrom: {{ secretKeyRef: {{ name: s3, key: key }} }} }}"
        )
    }

    /// Writes the Secret that [`S3::settings`] names, as it is mounted.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn write_secret(folder: &Path) {
        let secret = folder.join("s3");
        std::fs::create_dir_all(&secret).expect("a folder");
        for (key, value) in [("id", "id"), ("key", "s3cret-value")] {
            std::fs::write(secret.join(key), value).expect("written");
        }
    }

    /// The Secret that [`S3::settings`] names.
    pub fn secret() -> &'static str {
        "{apiVersion: v1, kind: Secret, metadata: {name: s3}, stringData: {id: id, key: s3cret-value}}"
    }

    /// The lines of every object under a prefix, sorted.
    ///
    /// # Panics
    /// An object that is listed is gone.
    pub fn lines(&self, prefix: &str) -> Vec<String> {
        let objects =
            self.names(prefix).into_iter().filter(|name| !name.rsplit('/').next().unwrap_or("").starts_with('.'));
        let texts = objects.map(|name| web::get(self.address, &format!("/bucket/{name}")).expect("a listed object"));
        let mut lines: Vec<_> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.sort();
        lines
    }

    /// The names of the objects under a prefix.
    ///
    /// # Panics
    /// The server does not answer.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/bucket?list-type=2&prefix={prefix}&start-after={after}");
            let page = web::get(self.address, &path).expect("a listing");
            let found = page.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
            names.extend(found.map(str::to_owned));
            match names.last() {
                Some(last) if page.contains("<IsTruncated>true") => after.clone_from(last),
                _ => return names,
            }
        }
    }
}

/// What a server gave, and how long that took.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// Heads of answers among them.
    pub bytes: usize,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl S3 {
    /// Reads every object under a prefix whose name ends so, with so many connections at once, and does nothing with them: what
    /// the server itself takes.
    ///
    /// # Panics
    /// The server does not answer.
    pub fn read_all(&self, prefix: &str, suffix: &str, connections: usize) -> Bulk {
        let names: Vec<_> = self.names(prefix).into_iter().filter(|name| name.ends_with(suffix)).collect();
        let (next, started) = (AtomicUsize::new(0), Instant::now());
        let read = || {
            let names = std::iter::from_fn(|| names.get(next.fetch_add(1, Ordering::Relaxed)));
            // An object may be deleted meanwhile: what comes instead is small.
            let answers =
                names.map(|name| web::answer(self.address, "GET", &format!("/bucket/{name}")).expect("an answer"));
            answers.map(|answer| answer.len()).sum::<usize>()
        };
        let bytes = std::thread::scope(|all| {
            let readers: Vec<_> = (0..connections).map(|_| all.spawn(read)).collect();
            readers.into_iter().map(|reader| reader.join().expect("it ends")).sum()
        });
        Bulk { bytes, took: started.elapsed() }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
