//! Making sessions, from the terminal and for the API, and links to them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use vestibule_domain::{
    Actor, BackendRoom, Communication, Context, Event, Invitation, ParticipantId, ParticipantRole, PatientId,
    Presence, ProviderRef, Rejection, Schedule, SessionId, SessionPolicy, TenantId, TokenKeys, VideoBackend,
    VirtualSession,
};

use crate::backends::{BackendError, Backends};
use crate::config::{CreateSession, PublicUrl, StartTime};
use crate::ids::Ids;
use crate::store::{Beside, Loaded, PersonText, PersonTextError, Profile, Store, StoreError};
use crate::tenants;

/// A session to be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) tenant: TenantId,
    pub(crate) patient_id: PatientId,
    pub(crate) provider_ref: ProviderRef,
    pub(crate) scheduled_start: Option<Timestamp>,
    pub(crate) scheduled_end: Option<Timestamp>,
    pub(crate) communication: Communication,
    pub(crate) people: Vec<Person>,
}

/// Somebody to invite, and how they are called.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) role: ParticipantRole,
    pub(crate) display_name: Option<PersonText>,
    /// What an observer is to the patient.
    pub(crate) relationship: Option<PersonText>,
}

impl Person {
    pub(crate) fn named(role: ParticipantRole, name: &str) -> Result<Self, PersonTextError> {
        Ok(Self { role, display_name: Some(PersonText::parse(name)?), relationship: None })
    }

    /// What is kept of their name, if they have one.
    pub(crate) fn profile(self, participant: ParticipantId) -> Option<Profile> {
        let relationship = self.relationship;
        self.display_name.map(|display_name| Profile { participant, display_name, relationship })
    }
}

/// One participant's link, for people and for programs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    pub(crate) participant: ParticipantId,
    pub(crate) role: ParticipantRole,
    pub(crate) name: String,
    pub(crate) link: String,
    pub(crate) expires_at: Timestamp,
}

/// What `session create --json` and `session links --json` print.
#[derive(Serialize)]
struct Printed<'a> {
    session: SessionId,
    links: &'a [Link],
}

/// Makes a session as asked for on the command line.
pub(crate) async fn create_as_asked(
    maker: &Maker<'_>,
    asked: CreateSession,
    now: Timestamp,
) -> anyhow::Result<Loaded> {
    let clinic = tenants::asked_for(maker.store, maker.ids, asked.clinic.as_deref(), now).await?;
    let made_up = || format!("local-{}", maker.ids.session(now));
    let roles = [
        (ParticipantRole::Provider, asked.provider),
        (ParticipantRole::Patient, vec![asked.patient]),
        (ParticipantRole::Interpreter, asked.interpreter),
        (ParticipantRole::Observer, asked.observer),
    ];
    let named =
        |role| move |name: String| Person::named(role, &name).with_context(|| format!("the name {name:?}"));
    let people = roles.into_iter().flat_map(|(role, names)| names.into_iter().map(named(role)));
    let plan = Plan {
        tenant: clinic.id,
        patient_id: asked.patient_id.unwrap_or_else(made_up).parse().context("--patient-id")?,
        provider_ref: asked.desk.parse().context("--desk")?,
        scheduled_start: asked.start.map(|start| match start {
            StartTime::Now => now,
            StartTime::At(at) => at,
        }),
        scheduled_end: asked.end,
        communication: Communication::Speech,
        people: people.collect::<anyhow::Result<_>>()?,
    };
    Ok(maker.make(plan, &Actor::System, now, |_| Ok::<_, MakeError>(Beside::default())).await?)
}

/// What it takes to make sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) store: &'a Store,
    pub(crate) backends: &'a Backends,
    pub(crate) ids: &'a Ids,
    /// The most participants of a session, whatever its clinic allows.
    pub(crate) participants_limit: u16,
}

/// Why a session was not made. There is no row, and no room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error("there is no such tenant")]
    NoTenant,
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Maker<'_> {
    /// Makes a session with its participants: the room first, then the row, in one transaction with what `beside` gives
    /// for it. A row that cannot be written releases the room.
    pub(crate) async fn make<E: From<MakeError>>(
        &self,
        plan: Plan,
        actor: &Actor,
        now: Timestamp,
        beside: impl FnOnce(&Loaded) -> Result<Beside, E>,
    ) -> Result<Loaded, E> {
        let config =
            self.store.config(plan.tenant).await.map_err(MakeError::from)?.ok_or(MakeError::NoTenant)?;
        let backend = config.values().video_backend;
        let port = self.backends.get(backend).map_err(MakeError::from)?;
        let id = self.ids.session(now);
        let room = port.provision(plan.tenant, id, now).await.map_err(MakeError::from)?;
        let written = async {
            let policy = config.policy().clone().within(self.participants_limit);
            let (loaded, events) = self.decide(plan, id, backend, room.clone(), policy, actor, now)?;
            let profiles: Vec<Profile> = loaded.profiles.values().cloned().collect();
            let beside = beside(&loaded)?;
            let created =
                self.store.create_session(&loaded.session, &events, &profiles, actor, &beside).await;
            created.map_err(MakeError::from)?;
            Ok(loaded)
        };
        let written = written.await;
        if written.is_err()
            && let Err(error) = port.release(&room).await
        {
            tracing::warn!(%error, room = room.as_str(), "a room without a session was not released; a sweep will find it");
        }
        written
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is given once, here")]
    fn decide(
        &self,
        plan: Plan,
        id: SessionId,
        backend: VideoBackend,
        room: BackendRoom,
        policy: SessionPolicy,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(Loaded, Vec<Event>), MakeError> {
        let mut profiles = BTreeMap::new();
        let mut participants = Vec::new();
        for person in plan.people {
            let participant = self.ids.participant(now);
            participants.push(Invitation { participant, role: person.role });
            profiles.extend(person.profile(participant).map(|profile| (participant, profile)));
        }
        let schedule = Schedule {
            id,
            tenant: plan.tenant,
            patient_id: plan.patient_id,
            provider_ref: plan.provider_ref,
            scheduled_start: plan.scheduled_start,
            scheduled_end: plan.scheduled_end,
            communication: plan.communication,
            backend,
            room,
            policy,
            participants,
        };
        let presence = Presence::default();
        let (session, events) =
            VirtualSession::create(schedule, &Context { now, actor, presence: &presence })?;
        Ok((Loaded { session, profiles }, events))
    }
}

/// Fresh links for all participants, in the order of their invitation.
pub(crate) fn links(
    stored: &Loaded,
    keys: &TokenKeys,
    origin: &PublicUrl,
    now: Timestamp,
) -> anyhow::Result<Vec<Link>> {
    let links = stored.session.participants().iter().map(|participant| {
        let token = keys.issue(&stored.session, participant.id, now)?;
        let profile = stored.profiles.get(&participant.id);
        Ok(Link {
            participant: participant.id,
            role: participant.role,
            name: profile.map_or_else(String::new, |profile| profile.display_name.as_str().to_owned()),
            link: origin.join_link(&token.token),
            expires_at: token.expires_at,
        })
    });
    links.collect()
}

/// Prints links at the terminal.
#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
pub(crate) fn print(session: SessionId, links: &[Link], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(&Printed { session, links })?);
        return Ok(());
    }
    println!("session {session}");
    print_lines(links);
    if let Some(until) = links.iter().map(|link| link.expires_at).min() {
        println!(
            "The links are good until {until:.0}; `vestibule session links {session}` makes fresh ones."
        );
    }
    Ok(())
}

/// Prints links for people.
#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
pub(crate) fn print_lines(links: &[Link]) {
    for link in links {
        println!("  {:<12} {:<18} {}", word(link.role), link.name, link.link);
    }
}

const fn word(role: ParticipantRole) -> &'static str {
    match role {
        ParticipantRole::Provider => "provider",
        ParticipantRole::Patient => "patient",
        ParticipantRole::Interpreter => "interpreter",
        ParticipantRole::Observer => "observer",
    }
}
