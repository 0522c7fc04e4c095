//! What the SFU counted: one number per thing that can happen to a datagram or a packet.
//!
//! Plain numbers of one shard; the engine publishes them.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Numbers since the start of the shard; they only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Every counter with its name, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Datagrams taken in.
    datagrams_in,
    /// Datagrams of no protocol of RFC 7983.
    dropped_unclassified,
    /// Datagrams from addresses that no check has validated, other than STUN.
    dropped_unknown_address,
    /// Datagrams over the rate of an unvalidated address.
    dropped_unknown_rate,
    /// STUN messages that do not parse or are of no use to a lite agent.
    dropped_stun_malformed,
    /// STUN requests for a username nobody has.
    dropped_stun_username,
    /// STUN requests from an address that is another peer's.
    dropped_address_held,
    /// STUN requests whose integrity check failed.
    dropped_stun_integrity,
    /// Addresses that moved from one peer to another (a NAT gave a port anew).
    addresses_taken_over,
    /// Times video had to wait because a peer's connection took no more, or was gone.
    paths_full,
    /// STUN requests answered.
    stun_answered,
    /// STUN requests answered with an error.
    stun_refused,
    /// DTLS datagrams refused by the gate before the worker.
    dropped_dtls_gate,
    /// DTLS datagrams passed on to the worker.
    dtls_passed,
    /// RTP or RTCP before SRTP keys were there.
    dropped_before_keys,
    /// RTP that does not parse.
    dropped_rtp_malformed,
    /// RTP that failed authentication.
    dropped_rtp_auth,
    /// RTP seen before (RFC 3711 section 3.3.2).
    dropped_rtp_replay,
    /// RTP while the peer's media gate is closed.
    dropped_gate_closed,
    /// RTP of an SSRC that no mid, rid or SDP line binds to a source.
    dropped_unbound_ssrc,
    /// RTP with a payload type that was not negotiated.
    dropped_payload_type,
    /// RTP that came by retransmission and by itself.
    dropped_duplicate,
    /// RTP older than its source remembers.
    dropped_too_old,
    /// AV1 from before the structure it is read by; it is asked for again.
    dropped_too_early,
    /// RTX packets that carry only padding: probes.
    rtx_padding_in,
    /// Packets repaired by a publisher's RTX.
    rtx_recovered_in,
    /// RTP accepted into a source's ring.
    rtp_in,
    /// RTP payload bytes accepted.
    rtp_payload_bytes_in,
    /// RTCP compounds accepted.
    rtcp_in,
    /// RTCP that does not parse.
    dropped_rtcp_malformed,
    /// RTCP that failed authentication or was replayed.
    dropped_rtcp_auth,
    /// RTP packets forwarded, retransmissions not counted.
    rtp_out,
    /// RTP payload bytes forwarded, retransmissions not counted.
    rtp_payload_bytes_out,
    /// Sequence numbers of NACKs over [`crate::bounds::NACKED_PACKETS_PER_SECOND`].
    dropped_nack_rate,
    /// Packets sent only to find out what a line carries.
    probe_packets_out,
    /// Packets of temporal layers left out for a slow line.
    thinned,
    /// Packets and retransmissions for which the pacer had no room.
    dropped_paced,
    /// Estimates of receivers (REMB) taken in.
    remb_in,
    /// Retransmissions sent.
    rtx_out,
    /// Retransmissions of what came before a keyframe, not sent on a line that is full.
    rtx_obsolete,
    /// Retransmissions asked for again within the hold-off.
    rtx_held_off,
    /// Retransmissions over the subscriber's budget.
    rtx_over_budget,
    /// Retransmissions asked for of packets no longer (or never) there.
    rtx_missing,
    /// Packets of the layer just left, or of the new one from before its keyframe.
    switch_late,
    /// Layer and source switches.
    switches,
    /// NACK messages sent to publishers.
    nack_out,
    /// Packets asked for again.
    nacked_packets_out,
    /// Packets given up.
    packets_given_up,
    /// Keyframe requests sent to publishers.
    keyframe_requests_out,
    /// Keyframe requests taken from subscribers.
    keyframe_requests_in,
    /// Keyframe requests that an earlier one already covers.
    keyframe_requests_coalesced,
    /// Transport-wide feedback messages sent.
    twcc_out,
    /// Transport-wide feedback messages taken in.
    twcc_in,
    /// RTCP compounds sent.
    rtcp_out,
    /// Packets dropped because the TX slab is full.
    dropped_tx_full,
    /// Packets that would not fit into one datagram once rewritten.
    dropped_oversized,
    /// Packets that could not be sealed: the lifetime of the keys is used up.
    dropped_seal,
    /// DTLS datagrams dropped because the output queue is full.
    dropped_output_full,
    /// Events and commands for peers that are gone.
    stale_peer,
}
