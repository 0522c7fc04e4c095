//! Which video codec each publisher sends: one that everybody in the room decodes, changed while it runs when somebody comes
//! who cannot. Who sends it is told; what they send until then is shown to those who decode it.

use crate::api::Event;
use crate::keys::{PeerKey, RoomKey};
use crate::sdp::{CodecName, MediaKind, OfferedMedia};
use crate::sfu::Sfu;
use crate::source::Formats;

/// What is tried where neither the codec of now nor the preferred one will do: first what costs publishers least and every
/// browser has (RFC 7742 section 5 asks for the first two).
const FALLBACKS: [CodecName; 4] = [CodecName::Vp8, CodecName::H264, CodecName::Vp9, CodecName::Av1];

impl Sfu {
    /// The codec a new source is to be sent in.
    pub(crate) fn first_codec(&self, owner: PeerKey, media: &OfferedMedia) -> Option<CodecName> {
        let first = media.codecs.first()?.name;
        if media.kind != Some(MediaKind::Video) {
            return Some(first);
        }
        let room = self.peers.get(owner)?.room;
        let preferred = self.config.video_codec;
        Some(self.codec_for_all(room, owner, &Formats::of(media), preferred).unwrap_or(first))
    }

    /// Looks whether everybody in a room decodes what its publishers send, and tells those who are to send something else.
    pub(crate) fn review_codecs(&mut self, room: RoomKey) {
        let peers = self.rooms.get(room).map(|room| room.peers.clone()).unwrap_or_default();
        for key in peers {
            let sources = self.peers.get(key).map(|peer| peer.uplink.sources.clone()).unwrap_or_default();
            for source_key in sources {
                let Some(source) = self.sources.get(source_key) else { continue };
                if source.media != MediaKind::Video {
                    continue;
                }
                let wanted = self.codec_for_all(room, key, &source.formats, source.codec);
                let Some(codec) = wanted.filter(|codec| *codec != source.codec) else { continue };
                let kind = source.kind;
                self.sources[source_key].codec = codec;
                let event = Event::CodecWanted { peer: self.peers[key].id, kind, codec };
                self.emit(event);
            }
        }
    }

    /// A codec that `formats` have and everybody who is or may be shown the owner's pictures decodes: `first` if it is one.
    /// `None` if there is none.
    fn codec_for_all(
        &self,
        room: RoomKey,
        owner: PeerKey,
        formats: &Formats,
        first: CodecName,
    ) -> Option<CodecName> {
        let viewers = || {
            let peers = self.rooms.get(room).map_or(&[][..], |room| &room.peers);
            peers.iter().filter(|key| **key != owner).filter_map(|key| self.peers.get(*key))
        };
        let all_decode = |codec: CodecName| {
            viewers().filter(|peer| peer.is_admitted()).all(|peer| {
                let mut slots = peer.slots.iter().filter(|slot| slot.parameters.media == MediaKind::Video);
                slots.all(|slot| slot.parameters.formats.get(codec).is_some())
            })
        };
        [first, self.config.video_codec]
            .into_iter()
            .chain(FALLBACKS)
            .find(|codec| formats.get(*codec).is_some() && all_decode(*codec))
    }
}
