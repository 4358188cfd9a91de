//! A unit that finds the reader of its log through a hub.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use thalweg_core::progress::LogProgress;
use thalweg_core::unit::Epoch;
use thalweg_exchange::hub::{Hub, Line, Request};
use thalweg_exchange::message::{Attempt, Message, Rows};
use thalweg_exchange::subscriber::{OnRange, OnRefusal, Subscriber};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::worker::{LIMIT, stamp, subscription};

pub struct Subscribed {
    index: u32,
    window: u32,
    pub numbers: Vec<i64>,
    pub messages: mpsc::UnboundedReceiver<Message>,
    to: mpsc::UnboundedSender<Message>,
    subscriber: Subscriber,
    line: Option<Line>,
}

impl Subscribed {
    pub fn new(hub: &Hub, index: u32, window: u32) -> Self {
        let (to, messages) = mpsc::unbounded_channel();
        let subscriber = Subscriber::new(Attempt { epoch: Epoch(1), count: 0 }, stamp("plan"), LogProgress::START);
        let mut unit = Self { index, window, numbers: Vec::new(), messages, to, subscriber, line: None };
        unit.subscribe(hub);
        unit
    }

    pub fn line(&self) -> &Line {
        self.line.as_ref().expect("it has subscribed")
    }

    fn subscribe(&mut self, hub: &Hub) {
        let request = Request {
            subscription: subscription(self.index),
            attempt: self.subscriber.subscribe_again(),
            stamp: stamp("plan"),
            accepted: self.subscriber.accepted(),
            credit: self.window,
        };
        self.line = Some(hub.subscribe(request, self.to.clone()));
    }

    /// The next message, whatever it says.
    pub async fn next(&mut self) -> Message {
        timeout(LIMIT, self.messages.recv()).await.expect("in time").expect("this unit may send to itself")
    }

    /// Takes what comes next. Whether it was a range that was wanted.
    pub async fn take(&mut self, hub: &Hub) -> bool {
        match self.next().await {
            Message::Range(range) => {
                let came = self.subscriber.on_range(range.attempt, &range.stamp, range.from, range.after);
                if came == OnRange::Take {
                    if let Some(Rows::Plain(batch)) = range.rows {
                        self.numbers.extend(batch.column(0).as_primitive::<Int64Type>().values());
                    }
                    self.line().grant(1);
                }
                assert_ne!(came, OnRange::SubscribeAgain, "unit {}", self.index);
                came == OnRange::Take
            }
            Message::Refused { attempt, reason, .. } => {
                match self.subscriber.on_refused(attempt, reason) {
                    OnRefusal::FindReader(_) => self.subscribe(hub),
                    OnRefusal::Nothing => {}
                    refused => panic!("unit {}: {refused:?}", self.index),
                }
                false
            }
            other => panic!("a reader does not say {other:?}"),
        }
    }

    /// Takes what comes until a refusal.
    pub async fn until_refused(&mut self, hub: &Hub) {
        while self.take(hub).await {}
    }

    pub async fn take_all(&mut self, hub: &Hub) {
        while !self.subscriber.accepted().has_ended() {
            self.take(hub).await;
        }
    }

    /// What the unit must have once it has all.
    pub fn expected(&self, end: u64) -> Vec<i64> {
        (0..end.cast_signed()).filter(|number| number % 2 == i64::from(self.index % 2)).collect()
    }
}
