//! What others are told, in the form they get it: CloudEvents 1.0, JSON format.

use jiff::Timestamp;
use serde::Serialize;
use vestibule_domain::{EventId, Published, PublishedData};

/// CloudEvents 1.0.2, section 3.1 and the JSON event format.
#[derive(Debug, Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: EventId,
    source: String,
    #[serde(rename = "type")]
    event_type: &'static str,
    subject: String,
    time: Timestamp,
    datacontenttype: &'static str,
    data: &'a PublishedData,
}

/// `published` as JSON. `time` is when the command was carried out.
pub(super) fn cloud_event(published: &Published, id: EventId, time: Timestamp) -> String {
    let event = CloudEvent {
        specversion: "1.0",
        id,
        source: format!("urn:vestibule:tenant:{}", published.tenant()),
        event_type: published.event_type.as_str(),
        subject: published.subject(),
        time,
        datacontenttype: "application/json",
        data: &published.data,
    };
    serde_json::to_string(&event).expect("strings, numbers and maps with string keys always serialise")
}
