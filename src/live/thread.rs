//! Keeps what is said in writing in one session: sealed, in order, and each line once.
//!
//! A line has its place from the store: where the store goes further than is known here (another server wrote, or an answer
//! was lost and the line is there all the same), what is missing is read and told with it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use vestibule_domain::SessionId;
use vestibule_signaling::wire::Attachment;
use vestibule_signaling::{KeepError, NewLine, THREAD_LINES_MAX, ThreadLine};

use crate::seal::{Seal, SealError};
use crate::store::{Keeping, SealedLine, Store, StoreError, ThreadImage};

/// Times a line is sealed for another place because the one before was taken.
const PLACES_TRIED_MAX: u32 = 4;
/// Bytes of text in a page of older lines: a thin line gets it whole.
const PAGE_BYTES_MAX: usize = 64 * 1024;

/// What of a line is sealed.
#[derive(Serialize, Deserialize)]
struct Spoken {
    client_id: String,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attachment: Option<Attachment>,
}

/// Writes and reads the lines of one session.
pub(crate) struct Keeper {
    session: SessionId,
    store: Store,
    seal: Seal,
    /// The position of the last line that is known here.
    last: u64,
    /// Lines that were found on the way, and are not told yet.
    untold: Vec<ThreadLine>,
}

impl Keeper {
    pub(crate) fn new(session: SessionId, store: Store, seal: Seal) -> Self {
        Self { session, store, seal, last: 0, untold: Vec::new() }
    }

    /// What was said before, in order: the last of it.
    pub(super) async fn lines(&mut self) -> Result<Vec<ThreadLine>, StoreError> {
        let lines = self.store.last_lines(self.session, limit()).await?;
        self.last = lines.last().map_or(0, |line| line.position);
        self.untold.clear();
        Ok(lines.into_iter().map(|line| self.opened(line)).collect())
    }

    /// What was said after a position, in order: a page of it.
    pub(crate) async fn lines_after(&self, after: u64) -> Result<Vec<ThreadLine>, StoreError> {
        let lines = self.store.lines_after(self.session, after, limit()).await?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for line in lines {
            let line = self.opened(line);
            bytes += line.text.len();
            if bytes > PAGE_BYTES_MAX && !page.is_empty() {
                break;
            }
            page.push(line);
        }
        Ok(page)
    }

    /// Keeps a line. The lines that are new here, in order: itself among them, unless it was known.
    pub(super) async fn keep(&mut self, line: NewLine) -> Result<Vec<ThreadLine>, KeepError> {
        let kept = self.try_keep(line).await;
        kept.map_err(|error| match error {
            Failed::Store(error) => {
                tracing::error!(session = %self.session, %error, "a line of a thread is not kept");
                KeepError::Unavailable
            }
            Failed::Not(why) => why,
        })
    }

    async fn try_keep(&mut self, line: NewLine) -> Result<Vec<ThreadLine>, Failed> {
        let attachment = self.attachment(&line).await?;
        for _ in 0..PLACES_TRIED_MAX {
            let line = at_place(self.last + 1, &line, attachment.clone());
            match self.store.keep_line(self.session, &self.sealed(&line.0, line.1)).await? {
                Keeping::Kept => {
                    self.last = line.0.position;
                    self.untold.push(line.0);
                    return Ok(std::mem::take(&mut self.untold));
                }
                Keeping::Before => {
                    self.catch_up().await?;
                    return Ok(std::mem::take(&mut self.untold));
                }
                Keeping::Behind { .. } => self.catch_up().await?,
                Keeping::Full => return Err(Failed::Not(KeepError::Full)),
            }
        }
        Err(Failed::Not(KeepError::Unavailable))
    }

    /// What the store has after what is known here.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        loop {
            let page = self.lines_after(self.last).await?;
            let Some(last) = page.last() else { return Ok(()) };
            self.last = last.position;
            self.untold.extend(page);
        }
    }

    /// The image a line shows, if its writer sent it.
    async fn attachment(&self, line: &NewLine) -> Result<Option<Attachment>, Failed> {
        let Some(digest) = line.image else { return Ok(None) };
        let images = self.store.thread_images(self.session, digest).await?;
        let image = images.into_iter().find(|image| image.owner == line.from);
        image.map(|image| Some(described(&image))).ok_or(Failed::Not(KeepError::UnknownImage))
    }

    fn sealed(&self, line: &ThreadLine, late: bool) -> SealedLine {
        let ThreadLine { position, at, from, client_id, text, attachment, audience } = line.clone();
        let client_hash = Some(SealedLine::client_hash(&client_id));
        let image = attachment.as_ref().map(|attachment| attachment.digest);
        let spoken = serde_json::to_vec(&Spoken { client_id, text, attachment });
        let spoken = spoken.expect("texts and numbers always serialise");
        let sealed = self.seal.seal(&SealedLine::purpose(self.session, position), &spoken);
        SealedLine { position, at, author: from, client_hash, image, audience, late, sealed }
    }

    /// A line that cannot be opened keeps its place, and is for nobody.
    pub(crate) fn opened(&self, line: SealedLine) -> ThreadLine {
        let SealedLine { position, at, author, audience, sealed, .. } = line;
        let spoken = self.spoken(position, &sealed.bytes);
        let (spoken, audience) = match spoken {
            Ok(spoken) => (spoken, audience),
            Err(error) => {
                tracing::error!(session = %self.session, position, %error, "a line of a thread cannot be opened");
                let nothing = Spoken { client_id: String::new(), text: String::new(), attachment: None };
                (nothing, BTreeSet::new())
            }
        };
        let Spoken { client_id, text, attachment } = spoken;
        ThreadLine { position, at, from: author, client_id, text, attachment, audience }
    }

    fn spoken(&self, position: u64, sealed: &[u8]) -> Result<Spoken, SealError> {
        let opened = self.seal.open(&SealedLine::purpose(self.session, position), sealed)?;
        serde_json::from_slice(&opened).map_err(|_| SealError::Damaged)
    }
}

/// Why a line is not kept.
enum Failed {
    Store(StoreError),
    Not(KeepError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A new line in its place, and whether it is late.
fn at_place(position: u64, line: &NewLine, attachment: Option<Attachment>) -> (ThreadLine, bool) {
    let NewLine { at, from, client_id, text, audience, late, .. } = line.clone();
    (ThreadLine { position, at, from, client_id, text, attachment, audience }, late)
}

/// An image as those see it whom a line is for.
pub(crate) fn described(image: &ThreadImage) -> Attachment {
    Attachment {
        digest: image.digest,
        media_type: image.media_type.as_str().to_owned(),
        width: image.size.width,
        height: image.size.height,
        bytes: image.bytes,
    }
}

fn limit() -> u32 {
    u32::try_from(THREAD_LINES_MAX).unwrap_or(u32::MAX)
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

    fn author() -> ParticipantId {
        ParticipantId::new(at(0), [1; 10])
    }

    fn new_line(number: u64, text: &str) -> NewLine {
        NewLine {
            at: at(5),
            from: author(),
            client_id: format!("c{number}"),
            text: text.to_owned(),
            image: None,
            audience: BTreeSet::from([author()]),
            late: false,
        }
    }

    fn line(position: u64, text: &str) -> ThreadLine {
        at_place(position, &new_line(position, text), None).0
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
        assert_eq!(keeper.keep(new_line(1, SAID)).await.unwrap(), [line(1, SAID)]);
        keeper.keep(new_line(2, "and on both arms")).await.unwrap();
        store.close().await;
        let raw = std::fs::read(folder.path().join("db")).unwrap();
        assert!(!raw.windows(6).any(|window| SAID.as_bytes().starts_with(window)));

        let store = Store::open(&Location::File(folder.path().join("db")), Ids::system()).await.unwrap();
        let mut keeper = Keeper::new(id, store, seal);
        assert_eq!(keeper.lines().await.unwrap(), [line(1, SAID), line(2, "and on both arms")]);
        assert_eq!(keeper.lines_after(1).await.unwrap(), [line(2, "and on both arms")]);
    }

    #[tokio::test]
    async fn a_line_of_an_id_is_kept_once_over_restarts_and_beyond_what_memory_keeps() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let seal = seal(&[1]);
        let mut keeper = Keeper::new(id, store.clone(), seal.clone());
        let lines = u64::try_from(THREAD_LINES_MAX).unwrap() + 5;
        for number in 1..=lines {
            keeper.keep(new_line(number, "x")).await.unwrap();
        }
        let mut keeper = Keeper::new(id, store, seal);
        assert_eq!(keeper.lines().await.unwrap().len(), THREAD_LINES_MAX);
        assert_eq!(keeper.keep(new_line(1, "x")).await.unwrap(), [], "it is there, and known here");
        let another = NewLine { from: ParticipantId::new(at(0), [2; 10]), ..new_line(1, "x") };
        assert_eq!(keeper.keep(another).await.unwrap()[0].position, lines + 1);
        let mut read = Vec::new();
        while let Some(line) = keeper.lines_after(read.len() as u64).await.unwrap().first() {
            read.push(line.position);
            read.extend(keeper.lines_after(line.position).await.unwrap().iter().map(|line| line.position));
        }
        assert_eq!(read, (1..=lines + 1).collect::<Vec<_>>(), "pages leave out none");
    }

    #[tokio::test]
    async fn what_is_there_and_not_known_here_is_told_with_the_next_line() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let seal = seal(&[1]);
        let (mut one, mut other) =
            (Keeper::new(id, store.clone(), seal.clone()), Keeper::new(id, store, seal));
        one.keep(new_line(1, SAID)).await.unwrap();
        assert_eq!(other.keep(new_line(2, "b")).await.unwrap(), [line(1, SAID), line(2, "b")]);
        // Its own line, whose answer was lost.
        assert_eq!(one.keep(new_line(2, "b")).await.unwrap(), [line(2, "b")]);
    }

    #[tokio::test]
    async fn what_the_store_does_not_take_is_not_kept_and_said_to_be() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let mut keeper = Keeper::new(id, store, seal(&[1]));
        execute(&folder, "ALTER TABLE thread_line RENAME TO gone").await;
        assert_eq!(keeper.keep(new_line(1, SAID)).await, Err(KeepError::Unavailable));
        execute(&folder, "ALTER TABLE gone RENAME TO thread_line").await;
        assert_eq!(keeper.keep(new_line(1, SAID)).await.unwrap(), [line(1, SAID)]);
    }

    #[tokio::test]
    async fn what_was_found_on_the_way_is_told_though_the_line_that_found_it_was_not_kept() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        let seal = seal(&[1]);
        let (mut one, mut other) =
            (Keeper::new(id, store.clone(), seal.clone()), Keeper::new(id, store, seal));
        one.keep(new_line(1, SAID)).await.unwrap();
        execute(
            &folder,
            "CREATE TRIGGER busy BEFORE INSERT ON thread_line WHEN NEW.position = 2
             BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        .await;
        assert_eq!(other.keep(new_line(2, "b")).await, Err(KeepError::Unavailable));
        execute(&folder, "DROP TRIGGER busy").await;
        assert_eq!(other.keep(new_line(1, SAID)).await.unwrap(), [line(1, SAID)], "whose answer was lost");
        assert_eq!(other.keep(new_line(2, "b")).await.unwrap(), [line(2, "b")]);
    }

    #[tokio::test]
    async fn a_line_that_cannot_be_opened_keeps_its_place_and_is_for_nobody() {
        let folder = TempDir::new();
        let (store, id) = session(&folder).await;
        Keeper::new(id, store.clone(), seal(&[1])).keep(new_line(1, SAID)).await.unwrap();
        let mut keeper = Keeper::new(id, store, seal(&[2]));
        let lines = keeper.lines().await.unwrap();
        assert_eq!((lines[0].position, lines[0].text.as_str(), lines[0].audience.len()), (1, "", 0));
        assert_eq!(keeper.keep(new_line(2, "b")).await.unwrap()[0].position, 2);
    }
}
