//! Hands on what a patient wrote and nobody answered: to an asynchronous visit on the same provider's desk.
//!
//! That it is to be done is written with the end of the session, or with a line that came after it; it is done by a job,
//! as often as it takes. A visit is called by the session and by the first line that is in it, and a line that is in one is
//! noted, so what is done twice is done once.
//!
//! What is handed on: of a session that ended in writing, the patient's lines since it went on in writing, if the last word
//! is theirs (of one that failed always: nobody decided that it was over); and what their device could send only after the
//! end. A line is handed on that was for a provider, or for nobody yet; what was said to others alone stays with them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::time::{Duration, MissedTickBehavior, interval};
use vestibule_domain::{
    Actor, AsyncVisitId, ContentDigest, Event, ParticipantId, ParticipantRole, SessionId, SessionStatus,
    VISIT_IMAGES_MAX, VirtualSession, VisitRejection, VisitStatus,
};
use vestibule_signaling::ThreadLine;

use super::{Result, ThreadError, Threads};
use crate::blobs::{BlobPath, Holder};
use crate::clock;
use crate::live::Keeper;
use crate::store::{Beside, Handover};
use crate::visits::{About, Asked, TEXT_CHARACTERS_MAX, VisitError, Written};

/// How often it is looked whether something is due.
const INTERVAL: Duration = Duration::from_secs(5);
/// Threads handed on in one go.
const AT_ONCE: u32 = 20;
/// Lines read at a time.
const PAGE: u32 = 200;
/// Asynchronous visits of one thread.
const VISITS_MAX: usize = 500;

/// Whether the end of a session, by these events, leaves something to be handed on perhaps.
pub(crate) fn hands_on(after: &VirtualSession, events: &[Event]) -> bool {
    let ends = events.iter().any(|event| matches!(event, Event::Ended { .. } | Event::Failed { .. }));
    ends && after.fallback_since().is_some()
}

/// Lives as long as the server.
pub(crate) async fn run(threads: Threads) {
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        threads.hand_on_due(clock::now()).await;
    }
}

/// A line, and what is known of it beside what it says.
#[derive(Clone)]
struct Piece {
    line: ThreadLine,
    late: bool,
}

/// Lines that fit into one visit.
struct Batch {
    positions: Vec<u64>,
    written: Written,
}

impl Threads {
    /// Hands on all that is due; what cannot be is tried again later.
    pub(crate) async fn hand_on_due(&self, now: Timestamp) {
        let due = match self.store.handovers_due(now, AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                return tracing::error!(%error, "it cannot be read which threads are to be handed on");
            }
        };
        for handover in due {
            let session = handover.session;
            if let Err(error) = self.hand_on(&handover, now).await {
                tracing::error!(%session, %error, "a thread is not handed on yet; it is tried again");
                // If that cannot be written, it is due as before.
                let _ = self.store.handover_failed(&handover, handover.again_at(now)).await;
            }
        }
    }

    async fn hand_on(&self, handover: &Handover, now: Timestamp) -> Result<()> {
        let id = handover.session;
        if let Some(loaded) = self.store.load_session(id).await? {
            let session = loaded.session;
            let handed: BTreeMap<u64, AsyncVisitId> =
                self.store.lines_of_visits(id).await?.into_iter().collect();
            let pieces = self.pieces(id).await?;
            let theirs: Vec<Piece> = for_the_desk(&session, pieces);
            let (before, rest): (Vec<_>, Vec<_>) =
                theirs.into_iter().partition(|piece| handed.contains_key(&piece.line.position));
            if !rest.is_empty() {
                let rest = self.append(&session, &handed, &before, rest, now).await?;
                self.place(&session, &rest, now).await?;
            }
        }
        Ok(self.store.handover_done(handover).await?)
    }

    async fn pieces(&self, session: SessionId) -> Result<Vec<Piece>> {
        let keeper = Keeper::new(session, self.store.clone(), self.seal.clone());
        let mut pieces: Vec<Piece> = Vec::new();
        loop {
            let after = pieces.last().map_or(0, |piece| piece.line.position);
            let page = self.store.lines_after(session, after, PAGE).await?;
            if page.is_empty() {
                return Ok(pieces);
            }
            pieces.extend(page.into_iter().map(|line| Piece { late: line.late, line: keeper.opened(line) }));
        }
    }

    /// Adds lines to the visit the ones before are in, while it is open and they fit; those that are still to be placed.
    async fn append(
        &self,
        session: &VirtualSession,
        handed: &BTreeMap<u64, AsyncVisitId>,
        before: &[Piece],
        rest: Vec<Piece>,
        now: Timestamp,
    ) -> Result<Vec<Piece>> {
        let Some(&visit) = handed.values().next_back() else { return Ok(rest) };
        let in_it = before.iter().filter(|piece| handed.get(&piece.line.position) == Some(&visit));
        let whole: Vec<Piece> = in_it.chain(&rest).cloned().collect();
        let mut batches = batches(&whole);
        let (Some(batch), None) = (batches.pop(), batches.pop()) else { return Ok(rest) };
        match self.write(session, visit, &batch, now).await {
            Ok(()) => Ok(Vec::new()),
            Err(ThreadError::Visit(VisitError::Rejected(
                VisitRejection::AlreadyAnswered | VisitRejection::LimitReached { .. },
            ))) => Ok(rest),
            Err(error) => Err(error),
        }
    }

    async fn place(&self, session: &VirtualSession, lines: &[Piece], now: Timestamp) -> Result<()> {
        for batch in batches(lines).into_iter().take(VISITS_MAX) {
            let first = lines.iter().find(|piece| batch.positions.first() == Some(&piece.line.position));
            let Some(first) = first else { continue };
            let visit = visit_of(session.id(), &first.line);
            match self.write(session, visit, &batch, now).await {
                // It was answered between the writing and the noting of before.
                Err(ThreadError::Visit(VisitError::Rejected(VisitRejection::AlreadyAnswered))) => {
                    self.store.lines_handed_on(session.id(), &batch.positions, visit).await?;
                }
                written => written?,
            }
        }
        Ok(())
    }

    /// Puts lines on the desk as the content of a visit: makes it, or amends what was submitted.
    async fn write(
        &self,
        session: &VirtualSession,
        visit: AsyncVisitId,
        batch: &Batch,
        now: Timestamp,
    ) -> Result<()> {
        let author = session.patient().map(|patient| patient.id);
        let asked = Asked {
            tenant: session.tenant(),
            actor: author.map_or(Actor::System, Actor::Participant),
            now,
            expected: None,
            beside: Beside::default(),
        };
        let about = About {
            patient: session.patient_id().clone(),
            provider: session.provider_ref().clone(),
            session: Some(session.id()),
        };
        let known = self.store.load_visit(visit).await?.map(|loaded| loaded.visit.status());
        if known.is_none_or(|status| status == VisitStatus::Draft) {
            let without = Written { text: batch.written.text.clone(), images: Vec::new() };
            self.visits.save_draft(&asked, visit, &about, &without).await?;
        }
        for &digest in &batch.written.images {
            self.copy_image(session, &asked, visit, digest).await?;
        }
        if known.is_none_or(|status| status == VisitStatus::Draft) {
            self.visits.submit(&asked, visit, Some((&about, &batch.written))).await?;
        } else {
            self.visits.amend(&asked, visit, &batch.written).await?;
        }
        self.store.lines_handed_on(session.id(), &batch.positions, visit).await?;
        tracing::info!(session = %session.id(), %visit, "what was written is handed on to an asynchronous visit");
        Ok(())
    }

    /// An image of the thread becomes one of the visit, under the same digest.
    async fn copy_image(
        &self,
        session: &VirtualSession,
        asked: &Asked,
        visit: AsyncVisitId,
        digest: ContentDigest,
    ) -> Result<()> {
        let path = BlobPath { tenant: session.tenant(), holder: Holder::Session(session.id()), digest };
        let bytes = self.blobs.get(path).await?.ok_or(ThreadError::NotFound)?;
        self.visits.add_image(asked, visit, bytes.to_vec()).await?;
        Ok(())
    }
}

/// Those lines of the patient that are to be handed on.
fn for_the_desk(session: &VirtualSession, pieces: Vec<Piece>) -> Vec<Piece> {
    let of = |role: ParticipantRole| -> BTreeSet<ParticipantId> {
        let people = session.participants().iter().filter(|participant| participant.role == role);
        people.map(|participant| participant.id).collect()
    };
    let (patients, providers) = (of(ParticipantRole::Patient), of(ParticipantRole::Provider));
    let since = session.fallback_since();
    let in_writing = |piece: &Piece| since.is_some_and(|since| piece.line.at >= since);
    let last_word = pieces.iter().rev().find(|piece| {
        in_writing(piece)
            && !piece.late
            && (patients.contains(&piece.line.from) || providers.contains(&piece.line.from))
    });
    let is_open = session.status() == SessionStatus::Failed
        || last_word.is_some_and(|piece| patients.contains(&piece.line.from));
    let is_for_them = |line: &ThreadLine| {
        let others = line.audience.iter().any(|reader| *reader != line.from);
        !others || line.audience.iter().any(|reader| providers.contains(reader))
    };
    let theirs =
        pieces.iter().filter(|piece| patients.contains(&piece.line.from) && is_for_them(&piece.line));
    // One that cannot be opened is for nobody, and says nothing.
    let theirs = theirs.filter(|piece| !piece.line.text.is_empty() || piece.line.attachment.is_some());
    theirs.filter(|piece| piece.late || (is_open && in_writing(piece))).cloned().collect()
}

/// Lines in their order, in contents a visit can hold.
fn batches(lines: &[Piece]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for Piece { line, .. } in lines {
        let text = paragraph(line);
        let image = line.attachment.as_ref().map(|attachment| attachment.digest);
        let fits = batches.last().is_some_and(|batch| {
            let characters = batch.written.text.chars().count() + 1 + text.chars().count();
            let images = batch.written.images.len() + usize::from(image.is_some());
            characters <= TEXT_CHARACTERS_MAX && images <= VISIT_IMAGES_MAX
        });
        if !fits {
            batches.push(Batch {
                positions: Vec::new(),
                written: Written { text: String::new(), images: Vec::new() },
            });
        }
        let Some(batch) = batches.last_mut() else { continue };
        batch.positions.push(line.position);
        if !batch.written.text.is_empty() {
            batch.written.text.push('\n');
        }
        batch.written.text.push_str(&text);
        batch.written.images.extend(image.filter(|image| !batch.written.images.contains(image)));
    }
    batches
}

/// A line as a paragraph, with the time it was written at.
fn paragraph(line: &ThreadLine) -> String {
    let at = line.at.strftime("%Y-%m-%d %H:%M UTC");
    let text = if line.text.is_empty() { "(image)" } else { &line.text };
    format!("{at}: {text}")
}

/// The visit that begins with a line: the same each time it is asked.
fn visit_of(session: SessionId, first: &ThreadLine) -> AsyncVisitId {
    let name = format!("handover/{session}/{}/{}", first.from, first.client_id);
    let digest = Sha256::digest(name.as_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    AsyncVisitId::new(first.at, random)
}
