//! Making sessions, and links to them, from the terminal.

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use vestibule_domain::{
    Actor, Communication, Context, Invitation, ParticipantId, ParticipantRole, PatientId, Presence,
    ProviderRef, Schedule, SessionId, SessionPolicy, TokenKeys, VideoBackend, VirtualSession,
};

use crate::config::{CreateSession, PublicUrl, StartTime};
use crate::ids::Ids;
use crate::store::{Loaded, PersonText, Profile, Store, StoreError, Tenant};

/// A session to be made.
pub(crate) struct Plan {
    pub(crate) clinic: Tenant,
    pub(crate) patient_id: PatientId,
    pub(crate) provider_ref: ProviderRef,
    pub(crate) scheduled_start: Option<Timestamp>,
    pub(crate) scheduled_end: Option<Timestamp>,
    pub(crate) people: Vec<(ParticipantRole, String)>,
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
    store: &Store,
    ids: &Ids,
    asked: CreateSession,
    now: Timestamp,
) -> anyhow::Result<Loaded> {
    let clinic = clinic(store, ids, &asked.clinic, SessionPolicy::default(), now).await?;
    let made_up = || format!("local-{}", ids.session(now));
    let roles = [
        (ParticipantRole::Provider, asked.provider),
        (ParticipantRole::Patient, vec![asked.patient]),
        (ParticipantRole::Interpreter, asked.interpreter),
        (ParticipantRole::Observer, asked.observer),
    ];
    let plan = Plan {
        clinic,
        patient_id: asked.patient_id.unwrap_or_else(made_up).parse().context("--patient-id")?,
        provider_ref: asked.desk.parse().context("--desk")?,
        scheduled_start: asked.start.map(|start| match start {
            StartTime::Now => now,
            StartTime::At(at) => at,
        }),
        scheduled_end: asked.end,
        people: roles
            .into_iter()
            .flat_map(|(role, names)| names.into_iter().map(move |name| (role, name)))
            .collect(),
    };
    create(store, ids, plan, now).await
}

/// The clinic of that name, made if there is none.
pub(crate) async fn clinic(
    store: &Store,
    ids: &Ids,
    name: &str,
    policy: SessionPolicy,
    now: Timestamp,
) -> anyhow::Result<Tenant> {
    let name = PersonText::parse(name).context("the clinic's name")?;
    let name = name.as_str();
    if let Some(tenant) = store.tenant_by_name(name).await? {
        return Ok(tenant);
    }
    let tenant = Tenant { id: ids.tenant(now), name: name.to_owned(), created_at: now, policy };
    match store.insert_tenant(&tenant).await {
        Ok(()) => Ok(tenant),
        // Another process made it a moment ago.
        Err(StoreError::Exists { .. }) => {
            store.tenant_by_name(name).await?.with_context(|| format!("the clinic {name} came and went"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes a session with its participants, in one transaction.
pub(crate) async fn create(store: &Store, ids: &Ids, plan: Plan, now: Timestamp) -> anyhow::Result<Loaded> {
    let (actor, presence) = (Actor::System, Presence::default());
    let context = Context { now, actor: &actor, presence: &presence };
    let id = ids.session(now);
    let mut profiles = Vec::new();
    let mut participants = Vec::new();
    for (role, name) in plan.people {
        let display_name = PersonText::parse(&name).with_context(|| format!("the name {name:?}"))?;
        let participant = ids.participant(now);
        participants.push(Invitation { participant, role });
        profiles.push(Profile { participant, display_name, relationship: None });
    }
    let schedule = Schedule {
        id,
        tenant: plan.clinic.id,
        patient_id: plan.patient_id,
        provider_ref: plan.provider_ref,
        scheduled_start: plan.scheduled_start,
        scheduled_end: plan.scheduled_end,
        communication: Communication::Speech,
        backend: VideoBackend::Embedded,
        // The embedded SFU makes its room when somebody comes: there is nothing to provision.
        room: id.to_string().parse().context("the room's name")?,
        policy: plan.clinic.policy,
        participants,
    };
    let (session, events) = VirtualSession::create(schedule, &context)?;
    store.create_session(&session, &events, &profiles, &actor).await?;
    let profiles = profiles.into_iter().map(|profile| (profile.participant, profile)).collect();
    Ok(Loaded { session, profiles })
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
