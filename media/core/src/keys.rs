//! Keys of the shard's arenas: a stale key finds nothing, whoever reused its place.

slotmap::new_key_type! {
    pub(crate) struct RoomKey;
    pub(crate) struct PeerKey;
    pub(crate) struct SourceKey;
}
