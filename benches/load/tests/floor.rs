//! The floor sends what its specification says, and the plane's receivers count it like a server's packets.

use std::sync::Arc;
use std::time::Duration;

use vestibule_load::client::{MediaPlane, PerKind, PlaneOptions, SourceId};
use vestibule_load::floor::{self, FloorError, FloorReceiver, FloorSpec, FloorStream};
use vestibule_load::media::{MediaLibrary, Model, OpusModel, Vp8Model};
use vestibule_media_core::srtp::SrtpProfile;

#[test]
fn every_receiver_gets_every_packet() {
    for profile in SrtpProfile::PREFERENCE {
        let (plane, _) = MediaPlane::start(PlaneOptions {
            pin: None,
            bind: [127, 0, 0, 1].into(),
            announce: [127, 0, 0, 1].into(),
            profile,
            receive_buffer_bytes: 4 << 20,
            media: Arc::new(MediaLibrary::default()),
            transport_feedback: true,
        })
        .unwrap();
        let receivers: Vec<FloorReceiver> = floor::receivers(&plane, profile, &[PerKind::default(); 5])
            .unwrap()
            .into_iter()
            .map(|(_, found)| found)
            .collect();
        let spec = FloorSpec {
            bind: [127, 0, 0, 1].into(),
            profile: profile.dtls_id(),
            duration: Duration::from_millis(500),
            receivers,
            streams: vec![
                FloorStream {
                    source: SourceId(1),
                    model: Model::Vp8(Vp8Model::SIMULCAST[2]),
                    to: vec![0, 1, 2, 3, 4],
                },
                FloorStream {
                    source: SourceId(2),
                    model: Model::Opus(OpusModel { dtx: false }),
                    to: vec![1, 3],
                },
            ],
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        plane.begin_window();
        // An answer says that the window has begun: commands are taken in order.
        assert_eq!(runtime.block_on(plane.sample()).connected, 5);
        let report = floor::send(&spec, &MediaLibrary::default()).unwrap();
        let counts = runtime.block_on(plane.end_window());
        assert_eq!((report.dropped, counts.socket_drops, counts.undecryptable), (0, 0, 0));
        let received = counts.received.total();
        assert_eq!((received.packets, received.bytes), (report.packets, report.bytes));
        assert!(counts.received.audio.packets >= 40, "{}", counts.received.audio.packets);
        assert_eq!(counts.received.video.packets % 5, 0);
        assert_eq!((counts.loss.audio.lost, counts.loss.video.lost), (0, 0));
        assert!(counts.delays.frame_start.count() > 0);
    }
}

#[test]
fn a_specification_that_cannot_be_sent_is_refused() {
    let mut spec = FloorSpec {
        bind: [127, 0, 0, 1].into(),
        profile: 99,
        duration: Duration::ZERO,
        receivers: Vec::new(),
        streams: vec![FloorStream {
            source: SourceId(0),
            model: Model::Opus(OpusModel { dtx: true }),
            to: vec![0],
        }],
    };
    let library = MediaLibrary::default();
    assert!(matches!(floor::send(&spec, &library), Err(FloorError::Profile(99))));
    spec.profile = SrtpProfile::AeadAes128Gcm.dtls_id();
    assert!(matches!(floor::send(&spec, &library), Err(FloorError::NoReceiver(0))));
    spec.streams[0].to.clear();
    spec.streams[0].model = Model::Recording(vestibule_load::media::RecordingId(3));
    assert!(matches!(floor::send(&spec, &library), Err(FloorError::NoRecording)));
}
