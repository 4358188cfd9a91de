//! `thalweg top`: a pipeline live, from its splits by its workers to its sinks.

mod draw;
mod screen;

use std::io::IsTerminal;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use thalweg_operator_plan::view::View;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::args::{Output, TopArgs};
use super::kubernetes::{Place, Refusal};
use super::signals::stop_on_signals;
use super::status::{json, look, on_one_thread, refused};
use super::{Exit, print};
use draw::{Size, draw};
use screen::{Keys, Screen};

/// Shows a pipeline: live on a terminal, once elsewhere.
pub fn run(args: &TopArgs) -> Exit {
    on_one_thread(async {
        let place = match Place::find(&args.pipeline).await {
            Ok(place) => place,
            Err(refusal) => return refused(&refusal),
        };
        let view = match look(&place).await {
            Ok(view) => view,
            Err(refusal) => return refused(&refusal),
        };
        match args.output {
            Output::Json => print(&json(&view)),
            Output::Text if std::io::stdout().is_terminal() => live(&place, view, args.every).await,
            Output::Text => print(&once(&view, Timestamp::now())),
        }
    })
}

fn once(view: &View, now: Timestamp) -> String {
    draw(view, now, Size::BOUNDLESS).into_iter().map(|line| line + "\n").collect()
}

/// Draws until somebody has seen enough. A look that fails leaves the picture as it was, and says so.
async fn live(place: &Place, view: View, every_seconds: u16) -> Exit {
    let stop = stop_on_signals(|| {});
    let screen = match Screen::open() {
        Ok(screen) => screen,
        // A terminal that tells nothing of itself.
        Err(_) => return print(&once(&view, Timestamp::now())),
    };
    let mut keys = Keys::read();
    let every = Duration::from_secs(every_seconds.into());
    let mut looks = interval_at(Instant::now() + every, every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: (View, Option<Refusal>) = (view, None);
    loop {
        screen.show(&picture(&last.0, last.1.as_ref(), screen.size()));
        let ends = tokio::select! {
            () = stop.cancelled() => true,
            () = keys.quit() => true,
            () = screen.resized() => false,
            next = async { looks.tick().await; look(place).await } => {
                match next {
                    Ok(view) => last = (view, None),
                    Err(refusal) => last.1 = Some(refusal),
                }
                false
            }
        };
        if ends {
            return Exit::Done;
        }
    }
}

fn picture(view: &View, refusal: Option<&Refusal>, size: Size) -> Vec<String> {
    let said = refusal.map(|refusal| format!("as it was; now: {refusal}").replace("\n ", ";"));
    let rows = size.rows.saturating_sub(said.iter().len());
    let mut lines = draw(view, Timestamp::now(), Size { rows, ..size });
    lines.extend(said.map(|said| draw::fitted(&said, size.columns)));
    lines
}
