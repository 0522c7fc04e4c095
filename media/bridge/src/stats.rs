//! The SFU's numbers of one peer as the JSON of the `stats` message.

use serde_json::{Value, json};
use vestibule_media_core::quality::QualityReason;
use vestibule_media_core::sdp::CodecName;
use vestibule_media_core::stats::{DownlinkStats, EncodingStats, PeerStats, SlotStats, SourceStats};

/// Field names as in `getStats`: camel case, units last.
pub(crate) fn to_json(stats: &PeerStats) -> Value {
    json!({
        "connected": stats.connected,
        "profile": stats.profile.map(|profile| format!("{profile:?}")),
        "rttMs": stats.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
        "validatedAddresses": stats.validated_addresses,
        "sources": stats.sources.iter().map(source).collect::<Vec<_>>(),
        "slots": stats.slots.iter().map(slot).collect::<Vec<_>>(),
        "downlink": downlink(&stats.downlink),
        "quality": {
            "level": format!("{:?}", stats.quality.level).to_lowercase(),
            "reason": stats.quality.reason.map(reason),
        },
    })
}

fn downlink(stats: &DownlinkStats) -> Value {
    json!({
        "estimateBps": stats.estimate_bps,
        "acknowledgedBps": stats.acknowledged_bps,
        "lossShare": stats.loss_share,
        "allocatedBps": stats.allocated_bps,
        "wantedBps": stats.wanted_bps,
        "pacedPackets": stats.paced_packets,
        "probes": stats.probes,
        "audioRedundancy": stats.audio_redundancy,
    })
}

/// As it was measured, in its own unit.
fn reason(reason: QualityReason) -> Value {
    match reason {
        QualityReason::UplinkLoss(share) => json!({"uplinkLossShare": share}),
        QualityReason::DownlinkLoss(share) => json!({"downlinkLossShare": share}),
        QualityReason::RoundTrip(time) => json!({"rttMs": time.as_secs_f64() * 1_000.0}),
        QualityReason::UplinkJitter(time) => json!({"uplinkJitterMs": time.as_secs_f64() * 1_000.0}),
        QualityReason::DownlinkRate(bps) => json!({"downlinkRateBps": bps}),
        QualityReason::UplinkRate(bps) => json!({"uplinkRateBps": bps}),
        QualityReason::Silence => json!({"silence": true}),
    }
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
        "codec": stats.codec.name(),
        "spatialLayers": stats.spatial_layers,
        "flowing": stats.flowing,
        "height": stats.height,
        "rateBps": stats.rate_bps,
        "wanted": stats.wanted,
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
        "codec": stats.codec.map(CodecName::name),
        "encoding": stats.encoding,
        "spatialLayer": stats.spatial_layer,
        "height": stats.height,
        "target": stats.target,
        "temporalLayer": stats.temporal_layer,
        "packets": stats.packets,
        "payloadBytes": stats.payload_bytes,
        "retransmissions": stats.retransmissions,
        "switches": stats.switches,
        "fractionLost": stats.fraction_lost,
    })
}
