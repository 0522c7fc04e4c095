//! What the benchmarks share: a real [`Sfu`] with clients before it, connected by checks and fixed SRTP keys.
//!
//! It stands in for the browsers and the DTLS worker; everything in between is the product.
#![allow(dead_code, reason = "each benchmark is a program of its own and uses a part of it")]

pub(crate) mod client;
pub(crate) mod cpu;
pub(crate) mod reports;
pub(crate) mod trace;

use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::sdp::CodecName;
use vestibule_media_core::{
    Command, Event, Input, NtpTime, Output, PeerId, RoomId, SeatId, Sfu, SfuConfig, Time, WallClock,
};
use vestibule_sim::offer::{ClientAnswer, TEST_FINGERPRINT};

/// A server without sockets, and its time.
pub(crate) struct Server {
    pub(crate) sfu: Sfu,
    pub(crate) now: Time,
    /// The most nanoseconds that one input took, where that is asked for.
    pub(crate) longest: Option<u64>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let config = SfuConfig {
            candidates: vec![SocketAddr::from(([127, 0, 0, 1], 7_000)).into()],
            fingerprint: TEST_FINGERPRINT.parse().unwrap(),
            wall_clock: WallClock::new(NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
            video_codec: CodecName::Vp8,
        };
        Self { sfu: Sfu::new(config, [7; 32]), now: Time::from_millis(1_000), longest: None }
    }

    pub(crate) fn open_room(&mut self, room: RoomId) {
        self.command(Command::CreateRoom { room });
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    /// One input, timed where that is asked for.
    pub(crate) fn input(&mut self, input: Input<'_>) {
        let Some(longest) = self.longest else { return self.sfu.handle_input(input, self.now) };
        let took = cpu::spent(|| self.sfu.handle_input(input, self.now));
        self.longest = Some(longest.max(took));
    }

    /// Seats `occupant` before `peer`.
    pub(crate) fn seat(&mut self, peer: PeerId, seat: u16, occupant: PeerId) {
        self.command(Command::SetSeat { peer, seat: SeatId(seat), occupant: Some(occupant) });
    }

    /// Lets one sealed datagram in. It is decrypted in place, so it can be let in once.
    #[inline]
    pub(crate) fn datagram(&mut self, from: SocketAddr, bytes: &mut [u8]) {
        self.sfu.handle_input(Input::Datagram { from: from.into(), bytes }, self.now);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Does what is due. True if anything was.
    pub(crate) fn timers(&mut self) -> bool {
        let is_due = self.sfu.poll_timeout().is_some_and(|at| at <= self.now);
        if is_due {
            self.sfu.handle_input(Input::Timeout, self.now);
        }
        is_due
    }

    pub(crate) fn drop_outputs(&mut self) {
        while self.sfu.poll_output().is_some() {}
    }

    fn take_answer(&mut self) -> ClientAnswer {
        let mut answer = None;
        while let Some(output) = self.sfu.poll_output() {
            match output {
                Output::Event(Event::Answer { sdp, .. }) => answer = Some(ClientAnswer::parse(&sdp)),
                Output::Event(Event::Refused { error, .. }) => panic!("refused: {error}"),
                _ => {}
            }
        }
        answer.expect("an offer is answered")
    }
}
