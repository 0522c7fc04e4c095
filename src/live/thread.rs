//! Keeps what is said in writing in one session: sealed, in order, and as long as it takes.
//!
//! Those in the session read a line before it is kept, and go on writing while the store does not answer: what is still
//! to be kept waits here, bounded, and is tried again.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use vestibule_domain::SessionId;
use vestibule_signaling::{THREAD_LINES_MAX, ThreadLine};

use crate::seal::{Seal, SealError};
use crate::store::{SealedLine, Store, StoreError};

/// How soon what the store did not take is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Lines that wait to be kept; of more the oldest are lost. Nobody who comes later would be shown more.
const WAITING_MAX: usize = THREAD_LINES_MAX;

/// What of a line is sealed.
#[derive(Serialize, Deserialize)]
struct Spoken {
    client_id: String,
    text: String,
}

/// Writes the lines of one session.
pub(super) struct Keeper {
    session: SessionId,
    store: Store,
    seal: Seal,
    waiting: VecDeque<ThreadLine>,
    /// When the store is asked again; none while it does what it is asked.
    retry_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(session: SessionId, store: Store, seal: Seal) -> Self {
        Self { session, store, seal, waiting: VecDeque::new(), retry_at: None }
    }

    /// What was said before, in order.
    pub(super) async fn lines(&self) -> Result<Vec<ThreadLine>, StoreError> {
        let limit = u32::try_from(THREAD_LINES_MAX).unwrap_or(u32::MAX);
        let lines = self.store.last_lines(self.session, limit).await?;
        Ok(lines.into_iter().map(|line| self.opened(line)).collect())
    }

    /// Keeps a line, now or as soon as it can be.
    pub(super) async fn keep(&mut self, line: ThreadLine) {
        self.waiting.push_back(line);
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
        }
        if self.retry_at.is_none() {
            self.write().await;
        }
    }

    /// Writes what waits.
    pub(super) async fn write(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let lines: Vec<SealedLine> = self.waiting.iter().map(|line| self.sealed(line)).collect();
        match self.store.keep_lines(self.session, &lines).await {
            Ok(()) => {
                self.waiting.clear();
                if self.retry_at.take().is_some() {
                    tracing::info!(session = %self.session, "lines of a thread are kept again");
                }
            }
            Err(error @ (StoreError::Missing { .. } | StoreError::Corrupt { .. })) => {
                tracing::error!(session = %self.session, lines = lines.len(), %error, "lines of a thread are lost");
                self.waiting.clear();
                self.retry_at = None;
            }
            Err(error) => {
                if self.retry_at.is_none() {
                    tracing::error!(session = %self.session, %error, "a line of a thread waits to be kept");
                }
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }

    /// When [`Self::write`] is due.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.retry_at
    }

    fn sealed(&self, line: &ThreadLine) -> SealedLine {
        let spoken = Spoken { client_id: line.client_id.clone(), text: line.text.clone() };
        let spoken = serde_json::to_vec(&spoken).expect("two strings always serialise");
        SealedLine {
            position: line.position,
            at: line.at,
            author: line.from,
            audience: line.audience.clone(),
            sealed: self.seal.seal(&SealedLine::purpose(self.session, line.position), &spoken),
        }
    }

    /// A line that cannot be opened keeps its place, and is for nobody.
    fn opened(&self, line: SealedLine) -> ThreadLine {
        let SealedLine { position, at, author, audience, sealed } = line;
        let spoken = self.spoken(position, &sealed.bytes);
        let (spoken, audience) = match spoken {
            Ok(spoken) => (spoken, audience),
            Err(error) => {
                tracing::error!(session = %self.session, position, %error, "a line of a thread cannot be opened");
                (Spoken { client_id: String::new(), text: String::new() }, BTreeSet::new())
            }
        };
        ThreadLine { position, at, from: author, client_id: spoken.client_id, text: spoken.text, audience }
    }

    fn spoken(&self, position: u64, sealed: &[u8]) -> Result<Spoken, SealError> {
        let opened = self.seal.open(&SealedLine::purpose(self.session, position), sealed)?;
        serde_json::from_slice(&opened).map_err(|_| SealError::Damaged)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;
    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::SqliteConnectOptions;
    use vestibule_domain::{
        Actor, Communication, ConfigContext, ConfigValues, Context, PARTICIPANTS_USUAL, ParticipantId,
        Presence, Schedule, SessionPolicy, TenantConfig, TenantId, VideoBackend, VirtualSession,
    };

    use super::*;
    use crate::ids::Ids;
    use crate::store::{Beside, ConfigCommit, Location, Tenant};
    use crate::testing::TempDir;

    const SAID: &str = "it began on Monday";

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_780_300_800 + seconds).unwrap()
    }

    fn line(position: u64, text: &str) -> ThreadLine {
        let from = ParticipantId::new(at(0), [1; 10]);
        let (client_id, text) = (format!("c{position}"), text.to_owned());
        ThreadLine { position, at: at(5), from, client_id, text, audience: BTreeSet::from([from]) }
    }

    /// A store with one session in it, in a folder of its own.
    pub(crate) async fn session(folder: &TempDir) -> (Store, SessionId) {
        let store = Store::open(&Location::File(folder.path().join("db")), Ids::system()).await.unwrap();
        let (tenant, actor, beside) = (TenantId::new(at(0), [9; 10]), Actor::System, Beside::default());
        let context = ConfigContext {
            now: at(0),
            actor: &actor,
            participants_limit: PARTICIPANTS_USUAL,
            logo_hosts: &[],
        };
        let (config, events) = TenantConfig::create(tenant, ConfigValues::default(), &context).unwrap();
        let commit = ConfigCommit {
            before_version: 0,
            after: &config,
            events: &events,
            actor: &actor,
            now: at(0),
            beside: &beside,
        };
        let named = Tenant { id: tenant, name: "Clinic".into(), created_at: at(0) };
        store.create_tenant(&named, commit).await.unwrap();
        let schedule = Schedule {
            id: SessionId::new(at(0), [7; 10]),
            tenant,
            patient_id: "mrn-1".parse().unwrap(),
            provider_ref: "dr-a".parse().unwrap(),
            scheduled_start: None,
            scheduled_end: None,
            communication: Communication::Speech,
            backend: VideoBackend::Embedded,
            room: "room".parse().unwrap(),
            policy: SessionPolicy::default(),
            participants: Vec::new(),
        };
        let context = Context { now: at(0), actor: &actor, presence: &Presence::new() };
        let (session, events) = VirtualSession::create(schedule, &context).unwrap();
        store.create_session(&session, &events, &[], &actor, &beside).await.unwrap();
        (store, session.id())
    }

    pub(crate) async fn execute(folder: &TempDir, statement: &'static str) {
        let options = SqliteConnectOptions::new().filename(folder.path().join("db"));
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }

    fn seal(ids: &[u32]) -> Seal {
        Seal::parse(&ids.iter().map(|id| Seal::fresh_line(*id).to_string()).collect::<String>()).unwrap()
    }

    #[tokio::test]
    async fn what_was_said_is_there_after_a_restart_and_nowhere_in_the_clear() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let seal = seal(&[1]);
        let mut keeper = Keeper::new(id, store.clone(), seal.clone());
        keeper.keep(line(1, SAID)).await;
        keeper.keep(line(2, "and on both arms")).await;
        assert_eq!(keeper.due(), None);
        store.close().await;
        let raw = std::fs::read(folder.path().join("db")).unwrap();
        assert!(!raw.windows(6).any(|window| SAID.as_bytes().starts_with(window)));

        let store = Store::open(&Location::File(folder.path().join("db")), Ids::system()).await.unwrap();
        let keeper = Keeper::new(id, store, seal);
        assert_eq!(keeper.lines().await.unwrap(), [line(1, SAID), line(2, "and on both arms")]);
    }

    #[tokio::test]
    async fn a_line_waits_for_the_store_and_keeps_its_place() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let mut keeper = Keeper::new(id, store, seal(&[1]));
        execute(&folder, "ALTER TABLE thread_line RENAME TO gone").await;
        keeper.keep(line(1, SAID)).await;
        let due = keeper.due().expect("it is tried again");
        keeper.keep(line(2, "second")).await;
        assert_eq!(keeper.due(), Some(due), "a new line does not hurry it");
        keeper.write().await;
        assert!(keeper.due().is_some_and(|next| next > due));
        execute(&folder, "ALTER TABLE gone RENAME TO thread_line").await;
        keeper.write().await;
        assert_eq!(keeper.due(), None);
        assert_eq!(keeper.lines().await.unwrap(), [line(1, SAID), line(2, "second")]);
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let mut keeper = Keeper::new(id, store, seal(&[1]));
        execute(&folder, "ALTER TABLE thread_line RENAME TO gone").await;
        let last = u64::try_from(WAITING_MAX).unwrap() + 5;
        for position in 1..=last {
            keeper.keep(line(position, "x")).await;
        }
        execute(&folder, "ALTER TABLE gone RENAME TO thread_line").await;
        keeper.write().await;
        let kept = keeper.lines().await.unwrap();
        assert_eq!((kept.len(), kept[0].position), (WAITING_MAX, 6), "the oldest are lost");
    }

    #[tokio::test]
    async fn lines_of_a_session_that_is_gone_are_not_tried_for_ever() {
        let folder = TempDir::new();
        let (store, _) = session(&folder).await;
        let mut keeper = Keeper::new(SessionId::new(at(0), [8; 10]), store, seal(&[1]));
        keeper.keep(line(1, SAID)).await;
        assert_eq!(keeper.due(), None);
    }

    #[tokio::test]
    async fn a_line_that_cannot_be_opened_keeps_its_place_and_is_for_nobody() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        Keeper::new(id, store.clone(), seal(&[1])).keep(line(1, SAID)).await;
        let keeper = Keeper::new(id, store, seal(&[2]));
        let lines = keeper.lines().await.unwrap();
        assert_eq!((lines[0].position, lines[0].text.as_str(), lines[0].audience.len()), (1, "", 0));
    }
}
