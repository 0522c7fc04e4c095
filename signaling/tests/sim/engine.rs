//! The media engine: peers, gates and seats, and nothing of media. It fails when it is told what no engine could do.

use std::collections::{BTreeMap, BTreeSet};

use vestibule_signaling::{
    AudioProfile, MediaCommand, MediaEvent, PeerId, Quality, SeatId, SeatInfo, SourceKind,
};

use crate::check::{Checked, fault};
use crate::trace::Tab;

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) tab: Tab,
    pub(crate) gate_is_open: bool,
    pub(crate) seats: BTreeMap<SeatId, PeerId>,
    pub(crate) offered: bool,
    pub(crate) connected: bool,
    pub(crate) quiet: bool,
    pub(crate) quality: Quality,
    /// Of the camera, once it was said.
    pub(crate) wanted: Option<Vec<String>>,
    pub(crate) audio: AudioProfile,
}

#[derive(Debug, Default)]
pub(crate) struct Engine {
    pub(crate) room_is_open: bool,
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    pub(crate) speaker: Option<PeerId>,
    /// All that ever were.
    ever: BTreeSet<PeerId>,
    /// The next request finds no room in the queue.
    pub(crate) busy: bool,
    /// Offers and restarts that were done, each of which is told from all others.
    done: BTreeSet<String>,
}

impl Engine {
    /// Does what it is told. `tab`: whose peer it is that is added.
    ///
    /// Gives what happens later, and what the session's owner says at once.
    pub(crate) fn take(
        &mut self,
        command: MediaCommand,
        tab: Option<Tab>,
    ) -> Result<(Option<MediaEvent>, Option<MediaEvent>), crate::check::Fault> {
        if command.is_request() && std::mem::take(&mut self.busy) {
            return Ok((None, Some(MediaEvent::Busy(command))));
        }
        let event = match command {
            MediaCommand::CreateRoom => {
                expect(!std::mem::replace(&mut self.room_is_open, true), "a room opened twice")?;
                None
            }
            MediaCommand::CloseRoom => {
                expect(std::mem::take(&mut self.room_is_open), "a room closed that is not open")?;
                self.peers.clear();
                None
            }
            MediaCommand::AddPeer(peer) => {
                expect(self.room_is_open, "a peer without a room")?;
                expect(self.ever.insert(peer), "a peer's number given twice")?;
                let Some(tab) = tab else { return fault("engine", "a peer of nobody") };
                let fresh = Peer {
                    tab,
                    gate_is_open: false,
                    seats: BTreeMap::new(),
                    offered: false,
                    connected: false,
                    quiet: false,
                    quality: Quality::default(),
                    wanted: None,
                    audio: AudioProfile::Full,
                };
                self.peers.insert(peer, fresh);
                None
            }
            MediaCommand::RemovePeer(peer) => {
                expect(self.peers.remove(&peer).is_some(), "a peer removed that is none")?;
                None
            }
            MediaCommand::OpenGate(peer) => {
                self.peer(peer)?.gate_is_open = true;
                None
            }
            MediaCommand::CloseGate(peer) => {
                self.peer(peer)?.gate_is_open = false;
                None
            }
            MediaCommand::Offer { peer, negotiation, sdp } => {
                self.once(format!("offer {sdp}"))?;
                self.peer(peer)?.offered = true;
                if sdp.contains("bad") {
                    Some(MediaEvent::OfferRejected { peer, negotiation, why: "bad".into() })
                } else {
                    Some(MediaEvent::Answer { peer, negotiation, sdp, seats: seats() })
                }
            }
            MediaCommand::RestartIce { peer, ufrag, pwd } => {
                self.once(format!("restart {ufrag}"))?;
                self.peer(peer)?;
                if ufrag.ends_with('7') {
                    let why = "bad".into();
                    return Ok((None, Some(MediaEvent::RestartRejected { peer, why })));
                }
                Some(MediaEvent::Restarted { peer, ufrag, pwd })
            }
            MediaCommand::SetSeat { peer, seat, occupant } => {
                let viewer = self.peer(peer)?;
                match occupant {
                    Some(occupant) => viewer.seats.insert(seat, occupant),
                    None => viewer.seats.remove(&seat),
                };
                None
            }
            MediaCommand::TestLine { peer, .. } => {
                self.peer(peer)?;
                Some(MediaEvent::LineTested { peer, lost: Some(0.0) })
            }
            MediaCommand::SetSeatWish { peer, .. }
            | MediaCommand::SeekRate { peer, .. }
            | MediaCommand::NoteUplink { peer, .. } => {
                self.peer(peer)?;
                None
            }
            MediaCommand::Stats(peer) => {
                self.peer(peer)?;
                Some(MediaEvent::Stats { peer, stats: serde_json::Value::Null })
            }
        };
        Ok((event, None))
    }

    /// What it says about a peer, it knows.
    pub(crate) fn reports(&mut self, event: &MediaEvent) {
        match event {
            MediaEvent::Connected { peer } => {
                self.note(*peer, |peer| (peer.connected, peer.quiet) = (true, false))
            }
            MediaEvent::Quiet { peer } => self.note(*peer, |peer| peer.quiet = true),
            MediaEvent::Heard { peer } => self.note(*peer, |peer| peer.quiet = false),
            MediaEvent::Speaker(speaker) => self.speaker = *speaker,
            MediaEvent::Quality { peer, quality } => self.note(*peer, |peer| peer.quality = *quality),
            MediaEvent::EncodingsWanted { peer, kind: SourceKind::Camera, rids } => {
                self.note(*peer, |peer| peer.wanted = Some(rids.clone()));
            }
            MediaEvent::AudioWanted { peer, profile } => self.note(*peer, |peer| peer.audio = *profile),
            _ => {}
        }
    }

    fn note(&mut self, peer: PeerId, what: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            what(peer);
        }
    }

    /// It dies with the server.
    pub(crate) fn restart(&mut self) {
        self.room_is_open = false;
        self.peers.clear();
        self.speaker = None;
        self.busy = false;
    }

    /// The peer of a device.
    pub(crate) fn of(&self, tab: Tab) -> Option<PeerId> {
        self.peers.iter().rev().find(|(_, peer)| peer.tab == tab).map(|(&id, _)| id)
    }

    fn peer(&mut self, peer: PeerId) -> Result<&mut Peer, crate::check::Fault> {
        match self.peers.get_mut(&peer) {
            Some(peer) => Ok(peer),
            None => fault("engine", format!("{peer:?} is none")),
        }
    }

    fn once(&mut self, what: String) -> Checked {
        if self.done.contains(&what) {
            return fault("exactly once", format!("{what} a second time"));
        }
        self.done.insert(what);
        Ok(())
    }
}

fn expect(condition: bool, what: &str) -> Checked {
    if condition { Ok(()) } else { fault("engine", what) }
}

/// Two for people, one for a screen.
fn seats() -> Vec<SeatInfo> {
    let mid = |text: &str| Some(text.to_owned());
    vec![
        SeatInfo { seat: SeatId(0), audio: mid("3"), video: mid("4") },
        SeatInfo { seat: SeatId(1), audio: mid("5"), video: mid("6") },
        SeatInfo { seat: SeatId(2), audio: None, video: mid("7") },
    ]
}
