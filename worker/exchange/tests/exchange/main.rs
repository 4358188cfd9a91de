//! The exchange over loopback.
use {rcgen as _, rustls as _, tokio as _, tokio_rustls as _, tokio_util as _};
