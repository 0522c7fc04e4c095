//! The SFU's numbers of one peer as the JSON of the `stats` message.

use serde_json::{Value, json};
use vestibule_media_core::stats::{EncodingStats, PeerStats, SlotStats, SourceStats};

/// Field names as in `getStats`: camel case, units last.
pub(crate) fn to_json(stats: &PeerStats) -> Value {
    json!({
        "connected": stats.connected,
        "profile": stats.profile.map(|profile| format!("{profile:?}")),
        "rttMs": stats.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
        "validatedAddresses": stats.validated_addresses,
        "sources": stats.sources.iter().map(source).collect::<Vec<_>>(),
        "slots": stats.slots.iter().map(slot).collect::<Vec<_>>(),
    })
}

fn source(stats: &SourceStats) -> Value {
    json!({
        "kind": format!("{:?}", stats.kind).to_lowercase(),
        "flowing": stats.flowing,
        "subscribers": stats.subscribers,
        "encodings": stats.encodings.iter().map(encoding).collect::<Vec<_>>(),
    })
}

fn encoding(stats: &EncodingStats) -> Value {
    json!({
        "rid": stats.rid.map(|rid| rid.to_string()),
        "ssrc": stats.ssrc,
        "flowing": stats.flowing,
        "packets": stats.packets,
        "payloadBytes": stats.payload_bytes,
        "packetsLost": stats.packets_lost,
        "packetsRecovered": stats.packets_recovered,
        "duplicates": stats.duplicates,
        "jitterTimestampUnits": stats.jitter_timestamp_units,
        "ringBytes": stats.ring_bytes,
    })
}

fn slot(stats: &SlotStats) -> Value {
    json!({
        "mid": stats.mid.to_string(),
        "seat": stats.seat.map(|seat| seat.0),
        "ssrc": stats.ssrc,
        "encoding": stats.encoding,
        "packets": stats.packets,
        "payloadBytes": stats.payload_bytes,
        "retransmissions": stats.retransmissions,
        "switches": stats.switches,
    })
}
