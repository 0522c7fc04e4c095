//! The demo: a clinic with one open session, whose links work at once in two browser tabs.

use jiff::Timestamp;
use vestibule_domain::{ParticipantRole, PolicyValues, SessionPolicy};

use crate::ids::Ids;
use crate::sessions::{self, Plan};
use crate::store::{Loaded, Store};

/// The clinic's name.
const CLINIC: &str = "Demo Clinic";
/// A visit that nobody comes to stays open for as long as its links: whoever tries this out may be called away.
const NO_SHOW_MINUTES: u16 = 240;

/// The demo's open session: the one there is, or a new one when that is over or its door is closed.
pub(crate) async fn open_session(store: &Store, ids: &Ids, now: Timestamp) -> anyhow::Result<Loaded> {
    let policy =
        SessionPolicy::new(PolicyValues { no_show_minutes: NO_SHOW_MINUTES, ..PolicyValues::default() })?;
    let clinic = sessions::clinic(store, ids, CLINIC, policy, now).await?;
    let latest = match store.latest_session(clinic.id).await? {
        Some(id) => store.load_session(id).await?,
        None => None,
    };
    if let Some(stored) = latest {
        let door_is_open = stored.session.join_window().closes_at.is_none_or(|closes_at| now < closes_at);
        if door_is_open && !stored.session.status().is_final() {
            return Ok(stored);
        }
    }
    let plan = Plan {
        clinic,
        patient_id: "demo-patient".parse()?,
        provider_ref: "demo-desk".parse()?,
        scheduled_start: Some(now),
        scheduled_end: None,
        people: vec![
            (ParticipantRole::Provider, "Dr. Demo".into()),
            (ParticipantRole::Patient, "Demo Patient".into()),
            (ParticipantRole::Interpreter, "Demo Interpreter".into()),
        ],
    };
    sessions::create(store, ids, plan, now).await
}
