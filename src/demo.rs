//! The demo: a clinic with one open session, whose links work at once in two browser tabs.

use jiff::Timestamp;
use vestibule_domain::{Actor, Communication, ConfigValues, ParticipantRole, PolicyValues, SessionPolicy};

use crate::sessions::{MakeError, Maker, Person, Plan};
use crate::store::{Beside, Loaded};
use crate::tenants;

/// The clinic's name.
pub(crate) const CLINIC: &str = "Demo Clinic";
/// A visit that nobody comes to stays open for as long as its links: whoever tries this out may be called away.
const NO_SHOW_MINUTES: u16 = 240;

/// The demo's open session: the one there is, or a new one when that is over or its door is closed.
pub(crate) async fn open_session(maker: &Maker<'_>, now: Timestamp) -> anyhow::Result<Loaded> {
    let policy =
        SessionPolicy::new(PolicyValues { no_show_minutes: NO_SHOW_MINUTES, ..PolicyValues::default() })?;
    let values = ConfigValues { policy, ..ConfigValues::default() };
    let clinic = tenants::of_name(maker.store, maker.ids, CLINIC, values, now).await?;
    let latest = match maker.store.latest_session(clinic.id).await? {
        Some(id) => maker.store.load_session(id).await?,
        None => None,
    };
    if let Some(stored) = latest {
        let door_is_open = stored.session.join_window().closes_at.is_none_or(|closes_at| now < closes_at);
        if door_is_open && !stored.session.status().is_final() {
            return Ok(stored);
        }
    }
    let plan = Plan {
        tenant: clinic.id,
        patient_id: "demo-patient".parse()?,
        provider_ref: "demo-desk".parse()?,
        scheduled_start: Some(now),
        scheduled_end: None,
        communication: Communication::Speech,
        people: vec![
            Person::named(ParticipantRole::Provider, "Dr. Demo")?,
            Person::named(ParticipantRole::Patient, "Demo Patient")?,
            Person::named(ParticipantRole::Interpreter, "Demo Interpreter")?,
        ],
    };
    Ok(maker.make(plan, &Actor::System, now, |_| Ok::<_, MakeError>(Beside::default())).await?)
}
