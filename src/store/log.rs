//! What happened to something that has a version, made ready to be written: events, and what others are told of them.

use jiff::Timestamp;
use serde::Serialize;
use vestibule_domain::{
    Actor, AsyncVisit, ConfigEvent, Event, Published, TenantConfig, TenantId, VirtualSession, VisitEvent,
    published, published_config, published_visit,
};

use super::Beside;
use super::outbox::cloud_event;
use crate::ids::Ids;

/// What kinds of things have versions and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Session,
    Config,
    AsyncVisit,
}

impl Aggregate {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Config => "config",
            Self::AsyncVisit => "async_visit",
        }
    }
}

/// The events of one command and all that is written with them.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) tenant: TenantId,
    pub(super) aggregate: Aggregate,
    /// Its identifier.
    pub(super) subject: String,
    pub(super) version: u64,
    pub(super) at: Timestamp,
    pub(super) actor: Actor,
    pub(super) events: Vec<LoggedEvent>,
    pub(super) beside: Beside,
}

#[derive(Debug)]
pub(super) struct LoggedEvent {
    pub(super) id: String,
    pub(super) event_type: &'static str,
    /// Whom it is about, if it is about one participant.
    pub(super) participant: Option<String>,
    /// JSON.
    pub(super) payload: String,
    pub(super) published: Option<LoggedPublished>,
}

#[derive(Debug)]
pub(super) struct LoggedPublished {
    pub(super) id: String,
    pub(super) event_type: &'static str,
    /// A CloudEvent in JSON.
    pub(super) payload: String,
}

impl Logged {
    pub(super) fn of_session(
        session: &VirtualSession,
        events: &[Event],
        (actor, at): (&Actor, Timestamp),
        beside: &Beside,
        ids: &Ids,
    ) -> Self {
        let head = Head {
            tenant: session.tenant(),
            aggregate: Aggregate::Session,
            subject: session.id().to_string(),
            version: session.version(),
        };
        let about = |event: &Event| event.participant().map(|participant| participant.to_string());
        let events = events.iter().map(|event| Happened {
            event_type: event.type_name(),
            participant: about(event),
            payload: json(event),
            published: published(session, event),
        });
        head.with(events, (actor, at), beside, ids)
    }

    pub(super) fn of_config(
        config: &TenantConfig,
        events: &[ConfigEvent],
        (actor, at): (&Actor, Timestamp),
        beside: &Beside,
        ids: &Ids,
    ) -> Self {
        let head = Head {
            tenant: config.tenant(),
            aggregate: Aggregate::Config,
            subject: config.tenant().to_string(),
            version: config.version(),
        };
        let events = events.iter().map(|event| Happened {
            event_type: event.type_name(),
            participant: None,
            payload: json(event),
            published: published_config(config, event),
        });
        head.with(events, (actor, at), beside, ids)
    }
}

impl Logged {
    pub(super) fn of_visit(
        visit: &AsyncVisit,
        events: &[VisitEvent],
        (actor, at): (&Actor, Timestamp),
        beside: &Beside,
        ids: &Ids,
    ) -> Self {
        let head = Head {
            tenant: visit.tenant(),
            aggregate: Aggregate::AsyncVisit,
            subject: visit.id().to_string(),
            version: visit.version(),
        };
        let events = events.iter().map(|event| Happened {
            event_type: event.type_name(),
            participant: None,
            payload: json(event),
            published: published_visit(visit, event),
        });
        head.with(events, (actor, at), beside, ids)
    }
}

/// An event, and what is told of it.
struct Happened {
    event_type: &'static str,
    participant: Option<String>,
    payload: String,
    published: Option<Published>,
}

/// Whose events they are.
struct Head {
    tenant: TenantId,
    aggregate: Aggregate,
    subject: String,
    version: u64,
}

impl Head {
    fn with(
        self,
        events: impl Iterator<Item = Happened>,
        (actor, at): (&Actor, Timestamp),
        beside: &Beside,
        ids: &Ids,
    ) -> Logged {
        let events = events.map(|event| LoggedEvent {
            id: ids.event(at).to_string(),
            event_type: event.event_type,
            participant: event.participant,
            payload: event.payload,
            published: event.published.map(|published| {
                let id = ids.event(at);
                LoggedPublished {
                    id: id.to_string(),
                    event_type: published.event_type.as_str(),
                    payload: cloud_event(&published, id, at),
                }
            }),
        });
        Logged {
            tenant: self.tenant,
            aggregate: self.aggregate,
            subject: self.subject,
            version: self.version,
            at,
            actor: actor.clone(),
            events: events.collect(),
            beside: beside.clone(),
        }
    }
}

/// The JSON of a value of the domain.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("the domain's values have string keys and nothing that fails")
}
