//! Which shard a room lives on. A room never spans shards and never moves.

use std::collections::{HashMap, HashSet};

use vestibule_media_core::bounds::{PEERS_PER_ROOM_MAX, ROOMS_MAX};
use vestibule_media_core::{PeerId, RoomId};

/// Rooms and the shards they were placed on; bounded as the shards' own rooms and peers are.
#[derive(Debug)]
pub(crate) struct Placement {
    rooms: HashMap<RoomId, Placed>,
    loads: Vec<Load>,
}

#[derive(Debug)]
struct Placed {
    shard: usize,
    peers: HashSet<PeerId>,
}

/// What a shard carries; compared in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    peers: usize,
    rooms: usize,
}

impl Placement {
    pub(crate) fn new(shards: usize) -> Self {
        Self { rooms: HashMap::new(), loads: vec![Load::default(); shards] }
    }

    /// The shard of a room.
    pub(crate) fn shard_of(&self, room: RoomId) -> Option<usize> {
        self.rooms.get(&room).map(|placed| placed.shard)
    }

    /// The shard a new room would be placed on: the one with the fewest peers, then rooms, that has room for it.
    pub(crate) fn choose(&self) -> Option<usize> {
        let (shard, _) = self
            .loads
            .iter()
            .enumerate()
            .filter(|(_, load)| load.rooms < ROOMS_MAX)
            .min_by_key(|(_, load)| **load)?;
        Some(shard)
    }

    pub(crate) fn open(&mut self, room: RoomId, shard: usize) {
        self.rooms.insert(room, Placed { shard, peers: HashSet::new() });
        self.loads[shard].rooms += 1;
    }

    pub(crate) fn close(&mut self, room: RoomId) {
        if let Some(placed) = self.rooms.remove(&room) {
            self.loads[placed.shard].rooms -= 1;
            self.loads[placed.shard].peers -= placed.peers.len();
        }
    }

    pub(crate) fn join(&mut self, room: RoomId, peer: PeerId) {
        // Above the bound the shard refuses the peer.
        if let Some(placed) =
            self.rooms.get_mut(&room).filter(|placed| placed.peers.len() < PEERS_PER_ROOM_MAX)
        {
            self.loads[placed.shard].peers += usize::from(placed.peers.insert(peer));
        }
    }

    pub(crate) fn leave(&mut self, room: RoomId, peer: PeerId) {
        if let Some(placed) = self.rooms.get_mut(&room) {
            self.loads[placed.shard].peers -= usize::from(placed.peers.remove(&peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(placement: &mut Placement, room: u64) -> usize {
        let shard = placement.choose().unwrap();
        placement.open(RoomId(room), shard);
        shard
    }

    #[test]
    fn rooms_spread_over_shards_and_peers_weigh_more_than_rooms() {
        let mut placement = Placement::new(3);
        assert_eq!([0, 1, 2].map(|room| place(&mut placement, room)), [0, 1, 2]);
        for (room, peer) in [(0, 1), (0, 2), (1, 3)] {
            placement.join(RoomId(room), PeerId(peer));
        }
        assert_eq!([3, 4].map(|room| place(&mut placement, room)), [2, 2]);
        placement.leave(RoomId(1), PeerId(3));
        assert_eq!(place(&mut placement, 5), 1);
    }

    #[test]
    fn leaving_twice_or_closing_with_peers_leaves_nothing_behind() {
        let mut placement = Placement::new(1);
        place(&mut placement, 1);
        for peer in [1, 1, 2] {
            placement.join(RoomId(1), PeerId(peer));
        }
        placement.leave(RoomId(1), PeerId(1));
        placement.leave(RoomId(1), PeerId(1));
        assert_eq!(placement.loads[0], Load { peers: 1, rooms: 1 });
        placement.close(RoomId(1));
        placement.close(RoomId(1));
        assert_eq!((placement.loads[0], placement.rooms.len()), (Load::default(), 0));
    }

    #[test]
    fn a_full_shard_is_not_chosen_and_full_shards_choose_nobody() {
        let mut placement = Placement::new(2);
        for room in 0..2 * ROOMS_MAX as u64 {
            place(&mut placement, room);
        }
        assert_eq!(placement.choose(), None);
        placement.close(RoomId(1));
        assert_eq!(placement.choose(), Some(1));
    }
}
