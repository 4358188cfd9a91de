//! For tests: the process ends before and after each of its writes, as one that is killed.
//!
//! A file says what it has ended at, so that whoever starts it again and again sees it get on. Of the writes of one method to
//! one path it ends before the first, and after the answer to the second, which is the first one tried again; the third passes,
//! and then all begins anew. Since one passes, a write that leaves nothing behind, as an event does, holds up nothing that comes
//! after it for ever. A write that is refused is not ended after: it has changed nothing, and the next one takes its turn.
//! Renewals of the leader's Lease are left alone: how many there are is a matter of time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, Request, StatusCode};
use kube::client::Body;
use tracing::{error, warn};

use crate::leader;
use crate::requests::Witness;

/// What happens at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The process ends, and the write is not sent.
    Before,
    /// The process ends once the write is done.
    After,
    /// Nothing.
    Pass,
}

impl Turn {
    /// That of a write at which so many turns were taken.
    fn next(taken: usize) -> Self {
        match taken % 3 {
            0 => Self::Before,
            1 => Self::After,
            _ => Self::Pass,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Pass => "pass",
        }
    }
}

/// A write that counts, by its method and path; none of what is read, and of renewals of the leader's Lease.
fn counted(method: &Method, path: &str) -> Option<String> {
    let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
    let renews = || *method == Method::PUT && path.ends_with(&format!("/leases/{}", leader::NAME));
    (writes && !renews()).then(|| format!("{method} {path}"))
}

/// The turns that were taken, by this process and by those before it: one a line, as in
/// `after PATCH /apis/apps/v1/namespaces/shop/deployments/fares`.
struct Noted {
    file: File,
    /// How many, by write.
    taken: HashMap<String, usize>,
}

impl Noted {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().create(true).read(true).append(true).open(path)?;
        let (mut text, mut taken) = (String::new(), HashMap::<String, usize>::new());
        file.read_to_string(&mut text)?;
        for (_, write) in text.lines().filter_map(|line| line.split_once(' ')) {
            *taken.entry(write.to_owned()).or_default() += 1;
        }
        Ok(Self { file, taken })
    }

    fn next(&self, write: &str) -> Turn {
        Turn::next(self.taken.get(write).copied().unwrap_or_default())
    }

    /// Notes a turn; whether it is noted. One that is not is not taken: the process would end there for ever.
    fn note(&mut self, turn: Turn, write: &str) -> bool {
        // At once: the process may be about to end.
        if let Err(error) = self.file.write_all(format!("{} {write}\n", turn.as_str()).as_bytes()) {
            error!(%error, write, "noting what the process ends at");
            return false;
        }
        *self.taken.entry(write.to_owned()).or_default() += 1;
        true
    }
}

/// Ends the process at its writes.
pub struct Kills(Mutex<Noted>);

impl Kills {
    /// What has been ended at stands in a file, which is made where there is none.
    ///
    /// # Errors
    /// It cannot be read, or not be written.
    pub fn noted_in(file: &Path) -> io::Result<Self> {
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
        let noted = Noted::open(file).map_err(told)?;
        warn!(file = %file.display(), "this process ends at its writes, for a test");
        Ok(Self(Mutex::new(noted)))
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write is about to be sent: whether the process is to end once it is done.
    fn is_the_last(&self, write: &str) -> bool {
        let mut noted = self.noted();
        let turn = noted.next(write);
        if turn == Turn::After {
            return true;
        }
        if noted.note(turn, write) && turn == Turn::Before {
            end(turn, write);
        }
        false
    }

    /// A write was done at which the process is to end. Nobody else notes anything until it has: one end is one line.
    fn done(&self, write: &str) {
        let mut noted = self.noted();
        if noted.note(Turn::After, write) {
            end(Turn::After, write);
        }
    }
}

/// Ends the process as SIGKILL would: nothing is let go of, and nobody is told but the log.
fn end(turn: Turn, write: &str) -> ! {
    warn!(write, turn = turn.as_str(), "ending here, for a test");
    std::process::abort()
}

impl Witness for Kills {
    /// The write after which the process ends.
    type Seen = Option<String>;

    fn begins(&self, request: &Request<Body>) -> Option<String> {
        counted(request.method(), request.uri().path()).filter(|write| self.is_the_last(write))
    }

    fn ends(&self, last: Option<String>, status: Option<StatusCode>) {
        // What nobody has answered may come again, and so may what was refused.
        if let Some(write) = last.filter(|_| status.is_some_and(|status| status.is_success())) {
            self.done(&write);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http::Response;
    use k8s_openapi::api::coordination::v1::Lease;
    use kube::Api;
    use kube::api::{DeleteParams, ListParams};
    use kube::client::ClientBuilder;
    use tower::Layer;

    use super::*;
    use crate::requests::Seeing;

    #[test]
    fn the_process_ends_before_a_write_then_after_it_then_lets_one_pass() {
        use Turn::{After, Before, Pass};
        assert_eq!([0, 1, 2, 3, 4, 5].map(Turn::next), [Before, After, Pass, Before, After, Pass]);
    }

    #[test]
    fn all_writes_count_but_renewals_of_leadership() {
        let path = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/fares-0";
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(counted(&method, path), Some(format!("{method} {path}")));
        }
        assert_eq!(counted(&Method::GET, path), None);
        let leader = "/apis/coordination.k8s.io/v1/namespaces/thalweg/leases/thalweg-operator";
        assert_eq!(counted(&Method::PUT, leader), None);
        assert!(counted(&Method::POST, "/apis/coordination.k8s.io/v1/namespaces/thalweg/leases").is_some());
    }

    #[test]
    fn a_process_goes_on_where_the_one_before_it_has_ended_with_each_write_on_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kills");
        let (one, other) = ("PATCH /api/v1/namespaces/shop/services/a", "POST /api/v1/namespaces/shop/configmaps");
        for expected in [Turn::Before, Turn::After, Turn::Pass, Turn::Before] {
            let mut noted = Noted::open(&file).unwrap();
            assert_eq!((noted.next(one), noted.next(other)), (expected, Turn::Before));
            assert!(noted.note(expected, one));
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("before {one}\nafter {one}\npass {one}\nbefore {one}\n"));
    }

    /// Leases of an API server that has nothing, asked by whoever ends at its writes.
    fn nothing(file: &Path) -> Api<Lease> {
        let service = tower::service_fn(|_: Request<Body>| async {
            let answer = Response::builder().status(404).body(Body::empty());
            Ok::<_, Infallible>(answer.expect("a response"))
        });
        let service = Seeing(Arc::new(Kills::noted_in(file).unwrap())).layer(service);
        Api::namespaced(ClientBuilder::new(service, "default").build(), "shop")
    }

    const TAKEN: &str = "DELETE /apis/coordination.k8s.io/v1/namespaces/shop/leases/a";

    #[tokio::test]
    async fn a_write_whose_turn_it_is_to_pass_is_sent_and_noted_and_what_is_read_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kills");
        std::fs::write(&file, format!("before {TAKEN}\nafter {TAKEN}\n")).unwrap();
        let leases = nothing(&file);
        assert!(leases.get("a").await.is_err());
        assert!(leases.list(&ListParams::default()).await.is_err());
        assert!(leases.delete("a", &DeleteParams::default()).await.is_err());
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().skip(2).collect::<Vec<_>>(), [format!("pass {TAKEN}")]);
    }

    #[tokio::test]
    async fn after_a_write_that_is_refused_the_process_goes_on_and_its_turn_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kills");
        let noted = format!("before {TAKEN}\n");
        std::fs::write(&file, &noted).unwrap();
        let leases = nothing(&file);
        for _ in 0..2 {
            assert!(leases.delete("a", &DeleteParams::default()).await.is_err());
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), noted);
    }
}
