//! Keeps how the connections of live sessions were, for support, and for a session that is live anew. It is worth less than any
//! visit: nobody waits for it, what does not fit is lost, and a session is written at most once a minute, and at its end. What
//! goes into the audit with it is written at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Duration, MissedTickBehavior, interval, timeout};
use vestibule_domain::SessionId;
use vestibule_signaling::EarlierStep;

use crate::store::{AuditEntry, Beside, KeptStep, Store, StoreError};

/// How often what waits is written.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);
/// Messages on their way to the writer; more are lost.
const QUEUE_MAX: usize = 4_096;
/// Steps that wait to be written, of one session and of all; of more the newest are lost.
const STEPS_OF_SESSION_MAX: usize = 8_000;
const STEPS_MAX: usize = 64_000;
/// How long whoever stops the server waits for the last of it.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// Steps of earlier lives that are read of a session, the last of them: nine hours of three people.
const EARLIER_MAX: u32 = 10_000;
/// How long a session that is live anew has for that; after it, it goes on without.
const EARLIER_WAIT: Duration = Duration::from_secs(30);

/// The way to the writer, and back.
pub(super) struct Timelines {
    queue: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
    store: Store,
    /// After a restart all sessions are live anew at once. One reads at a time, and leaves the store to those who join.
    reading: Mutex<()>,
}

enum Message {
    Step(SessionId, Box<KeptStep>),
    Audit(Box<AuditEntry>),
    Over(SessionId),
    Write(oneshot::Sender<()>),
}

impl Timelines {
    pub(super) fn start(store: Store) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        tokio::spawn(run(Writer::new(store.clone(), Arc::clone(&lost)), messages));
        Self { queue, lost, store, reading: Mutex::new(()) }
    }

    /// How connections were in a session's earlier lives, oldest first; nothing if that cannot be had.
    pub(super) async fn earlier(&self, session: SessionId) -> Vec<EarlierStep> {
        let read = async {
            let _turn = self.reading.lock().await;
            self.store.last_steps(session, EARLIER_MAX).await
        };
        match timeout(EARLIER_WAIT, read).await {
            Ok(Ok(steps)) => return steps.iter().map(KeptStep::earlier).collect(),
            Ok(Err(error)) => {
                tracing::warn!(%session, %error, "how connections were before cannot be read");
            }
            Err(_) => tracing::warn!(%session, "how connections were before was not read in time"),
        }
        Vec::new()
    }

    /// Keeps a step, if it can be.
    pub(super) fn keep(&self, session: SessionId, step: KeptStep) {
        if self.queue.try_send(Message::Step(session, Box::new(step))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts a line into the audit, if it can be.
    pub(super) fn audit(&self, entry: AuditEntry) {
        if self.queue.try_send(Message::Audit(Box::new(entry))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nothing more comes of a session for now. If this is lost, it is written with all others.
    pub(super) fn over(&self, session: SessionId) {
        let _ = self.queue.try_send(Message::Over(session));
    }

    /// Ready when all that came before is written, or cannot be.
    pub(super) async fn write(&self) {
        let (done, written) = oneshot::channel();
        let write = async {
            // An error says that there is no writer, and nothing to wait for.
            if self.queue.send(Message::Write(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        if timeout(LAST_WRITE, write).await.is_err() {
            tracing::warn!("the last of how connections were may not be kept");
        }
    }

    /// Steps that were measured and are not kept.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

async fn run(mut writer: Writer, mut messages: mpsc::Receiver<Message>) {
    let mut tick = interval(WRITE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(Message::Step(session, step)) => writer.take(session, *step),
                Some(Message::Audit(entry)) => {
                    writer.audit(*entry);
                    // Many that come together are written together.
                    if messages.is_empty() {
                        writer.write_audit().await;
                    }
                }
                Some(Message::Over(session)) => {
                    writer.write(session).await;
                    writer.write_audit().await;
                }
                Some(Message::Write(done)) => {
                    writer.write_all().await;
                    // Nobody waits any more.
                    let _ = done.send(());
                }
                None => return writer.write_all().await,
            },
            _ = tick.tick() => writer.write_all().await,
        }
    }
}

/// Holds what waits.
struct Writer {
    store: Store,
    waiting: BTreeMap<SessionId, Vec<KeptStep>>,
    audit: Vec<AuditEntry>,
    count: usize,
    lost: Arc<AtomicU64>,
    /// The store did not take the last of it: said once.
    failing: bool,
}

impl Writer {
    const fn new(store: Store, lost: Arc<AtomicU64>) -> Self {
        Self { store, waiting: BTreeMap::new(), audit: Vec::new(), count: 0, lost, failing: false }
    }

    fn take(&mut self, session: SessionId, step: KeptStep) {
        let theirs = self.waiting.get(&session).map_or(0, Vec::len);
        if self.count >= STEPS_MAX || theirs >= STEPS_OF_SESSION_MAX {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.waiting.entry(session).or_default().push(step);
        self.count += 1;
    }

    fn audit(&mut self, entry: AuditEntry) {
        if self.audit.len() >= STEPS_MAX {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.audit.push(entry);
    }

    async fn write_all(&mut self) {
        self.write_audit().await;
        let sessions: Vec<SessionId> = self.waiting.keys().copied().collect();
        for session in sessions {
            self.write(session).await;
        }
    }

    async fn write_audit(&mut self) {
        if self.audit.is_empty() {
            return;
        }
        let audit = std::mem::take(&mut self.audit);
        let beside = Beside { audit: audit.clone(), ..Beside::default() };
        if let Err(error) = self.store.note(beside).await {
            tracing::warn!(count = audit.len(), %error, "lines of the audit wait to be written");
            self.audit = audit;
        }
    }

    /// What is not written stays for the next time, unless the session is not there any more.
    async fn write(&mut self, session: SessionId) {
        let Some(steps) = self.waiting.get(&session) else { return };
        let count = steps.len();
        match self.store.keep_steps(session, steps).await {
            Ok(()) => self.failing = false,
            Err(error @ (StoreError::Missing { .. } | StoreError::Corrupt { .. })) => {
                tracing::warn!(%session, count, %error, "how connections were is not kept");
                self.lost.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%session, count, %error, "how connections were waits to be kept");
                }
                return;
            }
        }
        self.waiting.remove(&session);
        self.count -= count;
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::SqliteConnectOptions;
    use vestibule_domain::{Actor, ParticipantId, TenantId};
    use vestibule_signaling::QualityStep;

    use super::super::thread::tests::{at, execute, session};
    use super::*;
    use crate::store::{Page, StepKey};
    use crate::testing::TempDir;

    fn step(at: Timestamp) -> KeptStep {
        KeptStep::of(at, ParticipantId::new(at, [1; 10]), &QualityStep::default())
    }

    async fn kept(store: &Store, session: SessionId) -> usize {
        let page = Page::<StepKey> { after: None, limit: 100_000 };
        store.steps(session, None, page).await.unwrap().len()
    }

    #[tokio::test]
    async fn what_was_measured_is_written_at_the_end_of_a_session_or_when_it_is_asked_for() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let timelines = Timelines::start(store.clone());
        timelines.keep(id, step(at(10)));
        timelines.over(id);
        timelines.keep(id, step(at(20)));
        timelines.write().await;
        assert_eq!((kept(&store, id).await, timelines.lost()), (2, 0));
    }

    #[tokio::test]
    async fn what_cannot_be_read_or_not_soon_is_gone_without() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        store.keep_steps(id, &[step(at(10)), step(at(20))]).await.unwrap();
        let timelines = Timelines::start(store);
        let until = |steps: Vec<EarlierStep>| steps.iter().map(|step| step.until).collect::<Vec<_>>();
        assert_eq!(until(timelines.earlier(id).await), [at(10), at(20)]);
        execute(&folder, "ALTER TABLE quality_step RENAME TO gone").await;
        assert_eq!(timelines.earlier(id).await, []);
        execute(&folder, "ALTER TABLE gone RENAME TO quality_step").await;
        // Another session's is read, and does not come.
        let _turn = timelines.reading.lock().await;
        tokio::time::pause();
        let begin = tokio::time::Instant::now();
        assert_eq!(timelines.earlier(id).await, []);
        assert!(begin.elapsed() < 2 * EARLIER_WAIT);
    }

    #[tokio::test]
    async fn what_goes_into_the_audit_waits_for_nothing() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let timelines = Timelines::start(store.clone());
        timelines.audit(AuditEntry {
            tenant: TenantId::new(at(0), [9; 10]),
            at: at(1),
            actor: Actor::System,
            action: "tier.audio_only.downlink_rate".into(),
            subject_kind: "participant",
            subject: "p".to_owned(),
            session: Some(id.to_string()),
        });
        let options = SqliteConnectOptions::new().filename(folder.path().join("db"));
        let mut connection = options.connect().await.unwrap();
        let written = async {
            while sqlx::query("SELECT 1 FROM audit WHERE subject = 'p'")
                .fetch_optional(&mut connection)
                .await
                .unwrap()
                .is_none()
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(WRITE_INTERVAL / 2, written).await.expect("before the next of what can wait");
    }

    #[tokio::test]
    async fn what_the_store_does_not_take_waits_within_a_bound_and_keeps_nobody() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let mut writer = Writer::new(store.clone(), Arc::default());
        execute(&folder, "ALTER TABLE quality_step RENAME TO gone").await;
        for second in 1..=i64::try_from(STEPS_OF_SESSION_MAX).unwrap() + 5 {
            writer.take(id, step(at(second)));
        }
        writer.write_all().await;
        assert_eq!((writer.count, writer.lost.load(Ordering::Relaxed)), (STEPS_OF_SESSION_MAX, 5));
        execute(&folder, "ALTER TABLE gone RENAME TO quality_step").await;
        writer.write_all().await;
        assert_eq!((writer.count, kept(&store, id).await), (0, STEPS_OF_SESSION_MAX));
    }

    #[tokio::test]
    async fn of_a_session_that_is_gone_nothing_waits_for_ever() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let mut writer = Writer::new(store.clone(), Arc::default());
        writer.take(SessionId::new(at(0), [8; 10]), step(at(1)));
        writer.take(id, step(at(1)));
        writer.write_all().await;
        assert_eq!((writer.count, writer.lost.load(Ordering::Relaxed), kept(&store, id).await), (0, 1, 1));
    }
}
