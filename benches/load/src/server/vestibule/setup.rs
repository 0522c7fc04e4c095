//! What there has to be before anybody comes: the clinic's configuration, sessions, consents, links.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::api::{self, NewParticipant, ScheduleSession};
use super::{Vestibule, due_now};
use crate::scenario::{Person, Role, Room};
use crate::server::ServerError;

/// The clinic whose configuration is ours to change. Its name begins with this.
const CLINIC: &str = "Load test";
/// Rooms that are made at once.
const AT_ONCE: usize = 8;
/// As many as one request to schedule a session may invite.
const INVITED_AT_ONCE: usize = 20;
/// The longest a session waits for its patient: an audience has none.
const NO_SHOW_MINUTES: u32 = 240;

impl Vestibule {
    /// Makes the rooms, and sees to the configuration before the first.
    pub(super) async fn set_up(&self, rooms: &[Room], made: &(dyn Fn() + Sync)) -> Result<(), ServerError> {
        if !self.made().is_configured {
            self.configure(rooms).await?;
            self.made().is_configured = true;
        }
        let making: Vec<_> = rooms.iter().map(|room| self.make(room, made)).collect();
        stream::iter(making).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Calls off the sessions that did not end with their provider.
    pub(super) async fn call_off(&self, rooms: &[Room]) -> Result<(), ServerError> {
        let sessions: Vec<_> =
            rooms.iter().filter_map(|room| self.made().sessions.remove(&room.number)).collect();
        let calls: Vec<_> = sessions.iter().map(|session| self.api.cancel(session)).collect();
        stream::iter(calls).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Only what these rooms take, and only in a clinic that is there for it.
    async fn configure(&self, rooms: &[Room]) -> Result<(), ServerError> {
        let me = self.api.me().await?;
        if let Some(missing) =
            api::SCOPES.split(',').find(|scope| !me.rights.iter().any(|right| right == scope))
        {
            return Err(api::key_refused(&format!("it may not do {missing}")));
        }
        let configuration = self.api.configuration().await?;
        let changes = changes(&configuration, rooms);
        if changes.as_object().is_none_or(serde_json::Map::is_empty) {
            return Ok(());
        }
        let clinic = me.clinic.name;
        if !clinic.starts_with(CLINIC) {
            return Err(ServerError::Environment(format!(
                "the key is of the clinic {clinic:?}, whose configuration would have to be changed; take one of a clinic that is \
                 there for it: {}",
                api::make_a_key()
            )));
        }
        let Err(refusal) = self.api.configure(&changes).await? else { return Ok(()) };
        let problem = refusal.problem;
        let detail = format!("{} {}", problem.field.as_deref().unwrap_or_default(), problem.detail);
        if detail.contains("maxParticipants") {
            let needed = size_max(rooms);
            return Err(ServerError::TooMany { needed, allowed: problem.detail });
        }
        if detail.contains("admitObserversWithProvider") {
            let why = "this server cannot let observers in with the provider: one-to-many and audio take a newer one";
            return Err(ServerError::Environment(why.to_owned()));
        }
        Err(api::refused("PATCH /v1/config", &problem))
    }

    async fn make(&self, room: &Room, made: &(dyn Fn() + Sync)) -> Result<(), ServerError> {
        let (first, later) = room.people.split_at(room.people.len().min(INVITED_AT_ONCE));
        let session = self
            .api
            .schedule(&ScheduleSession {
                patient_id: format!("load-{}", room.number),
                provider_ref: format!("load/{}", room.number),
                scheduled_start: due_now(),
                participants: first.iter().map(invitation).collect(),
            })
            .await?;
        self.made().sessions.insert(room.number, session.id.clone());
        if room.people.iter().any(|person| person.role == Role::Patient) {
            self.api.attest_consent(&session.id).await?;
        }
        for person in first {
            let name = display_name(person);
            let invited = session.participants.iter().find(|one| one.display_name.as_deref() == Some(&name));
            let invited =
                invited.ok_or_else(|| ServerError::Protocol(format!("{name:?} was not invited")))?;
            self.link(&session.id, person, &invited.id).await?;
        }
        for person in later {
            let invited = self.api.invite(&session.id, &invitation(person)).await?;
            self.link(&session.id, person, &invited.id).await?;
        }
        made();
        Ok(())
    }

    async fn link(&self, session: &str, person: &Person, participant: &str) -> Result<(), ServerError> {
        let token = self.api.token(session, participant).await?;
        self.made().tokens.insert(person.number, token);
        Ok(())
    }
}

fn invitation(person: &Person) -> NewParticipant {
    let role = match person.role {
        Role::Provider => "provider",
        Role::Patient => "patient",
        Role::Interpreter => "interpreter",
        Role::Observer => "observer",
    };
    NewParticipant { role, display_name: display_name(person) }
}

fn display_name(person: &Person) -> String {
    format!("Load {}", person.number)
}

fn size_max(rooms: &[Room]) -> usize {
    rooms.iter().map(|room| room.people.len()).max().unwrap_or(0)
}

/// What has to be different in a configuration for these rooms.
fn changes(configuration: &Value, rooms: &[Room]) -> Value {
    let has = |role| rooms.iter().flat_map(|room| &room.people).any(|person| person.role == role);
    let mut changes = serde_json::Map::new();
    let mut want = |field: &str, value: Value, is_so: bool| {
        if !is_so {
            changes.insert(field.to_owned(), value);
        }
    };
    let is = |field: &str, value: bool| configuration[field] == json!(value);
    let needed = size_max(rooms);
    let allowed = configuration["maxParticipants"].as_u64().unwrap_or(0);
    want("maxParticipants", json!(needed), allowed >= needed as u64);
    // The provider lets patients in: that is what people do.
    want("autoAdmitOnProviderJoin", json!(false), is("autoAdmitOnProviderJoin", false));
    if has(Role::Interpreter) {
        want("admitInterpretersWithProvider", json!(true), is("admitInterpretersWithProvider", true));
    }
    if has(Role::Observer) {
        want("admitObserversWithProvider", json!(true), is("admitObserversWithProvider", true));
        let no_show = configuration["noShowMinutes"].as_u64().unwrap_or(0);
        want("noShowMinutes", json!(NO_SHOW_MINUTES), no_show >= u64::from(NO_SHOW_MINUTES));
    }
    Value::Object(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn configuration() -> Value {
        json!({"maxParticipants": 8, "autoAdmitOnProviderJoin": false, "admitInterpretersWithProvider": false,
            "admitObserversWithProvider": false, "noShowMinutes": 15})
    }

    fn changes_for(scenario: Scenario) -> Value {
        changes(&configuration(), &scenario.plan(true).rooms)
    }

    #[test]
    fn visits_take_no_configuration_of_their_own() {
        assert_eq!(changes_for(Scenario::Visits { rooms: 100 }), json!({}));
    }

    #[test]
    fn rooms_and_audiences_take_what_they_need_and_no_more() {
        assert_eq!(
            changes_for(Scenario::Rooms { rooms: 2, size: 4 }),
            json!({"admitInterpretersWithProvider": true})
        );
        assert_eq!(
            changes_for(Scenario::OneToMany { receivers: 50 }),
            json!({"maxParticipants": 51, "admitObserversWithProvider": true, "noShowMinutes": 240})
        );
    }
}
