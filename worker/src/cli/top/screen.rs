//! The terminal: a screen of its own while something is drawn, and the key that ends it. What was there comes back, however
//! the process ends by itself.

use std::io::{Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc};

use super::draw::Size;

/// Where nobody tells how large it is.
const USUAL: Size = Size { columns: 80, rows: 24 };
/// Another screen without a cursor (xterm's control sequences 1049 and 25), and the end of it.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// A terminal that is drawn on.
pub struct Screen {
    /// As it was; `None` where nothing can be typed.
    before: Option<Termios>,
    resizes: Mutex<Signal>,
}

impl Screen {
    /// Takes the terminal of standard output; what is typed is not shown, and comes at once.
    ///
    /// # Errors
    /// The system gives no signals.
    pub fn open() -> std::io::Result<Self> {
        let resizes = Mutex::new(signal(SignalKind::window_change())?);
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut typed) = before.clone() {
            typed.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(std::io::stdin(), OptionalActions::Now, &typed)?;
        }
        write(ENTER);
        Ok(Self { before, resizes })
    }

    /// How large it is.
    pub fn size(&self) -> Size {
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or(USUAL, |size| Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
    }

    /// Waits until it has another size.
    pub async fn resized(&self) {
        if self.resizes.lock().await.recv().await.is_none() {
            std::future::pending().await
        }
    }

    /// Draws lines over what is there: nothing flickers.
    pub fn show(&self, lines: &[String]) {
        let lines: Vec<_> = lines.iter().map(|line| format!("{line}\u{1b}[K")).collect();
        write(&format!("\u{1b}[H{}\u{1b}[J", lines.join("\n")));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// A terminal that has gone away ends the process by a signal.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What is typed.
pub struct Keys(mpsc::Receiver<u8>);

impl Keys {
    /// Reads standard input for as long as the process runs: a read that waits cannot be called off.
    pub fn read() -> Self {
        let (sender, keys) = mpsc::channel(16);
        std::thread::spawn(move || {
            let typed = std::io::stdin().lock().bytes().map_while(Result::ok);
            for key in typed {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        });
        Self(keys)
    }

    /// Waits for `q`.
    pub async fn quit(&mut self) {
        while let Some(key) = self.0.recv().await {
            if matches!(key, b'q' | b'Q') {
                return;
            }
        }
        // Nothing can be typed any more: a signal ends it.
        std::future::pending().await
    }
}
