//! What one transport sends when it is time: frames, feedback, reports.

use std::net::UdpSocket;

use vestibule_media_core::rtcp::RtcpWriter;

use super::{Context, FEEDBACK_MICROS, Stage, Transport};
use crate::client::receive::{RTCP_BYTES_MAX, SendRtcp, WriteRtcp};
use crate::client::send::Wire;
use crate::client::socket::Burst;
use crate::client::srtp::Srtp;
use crate::client::wheel::Timer;

/// Report blocks in one receiver report (RFC 3550 section 6.4.2: a five-bit count).
const REPORT_BLOCKS_MAX: usize = 31;
/// What who sends nothing reports with, as browsers do.
const RECEIVER_SSRC: u32 = 1;

impl Transport {
    pub(super) fn schedule_frames(&mut self, cx: &mut Context) {
        for (at, send) in self.sends.iter_mut().enumerate().filter(|(_, send)| !send.scheduled) {
            send.start(cx.now);
            send.scheduled = true;
            cx.wheel.set(send.due_at, self.id, Timer::Frame(at as u16));
        }
    }

    pub(super) fn send_frames(&mut self, at: u16, cx: &mut Context) {
        let Some(send) = self.sends.get_mut(usize::from(at)) else { return };
        let Stage::Connected(srtp) = &mut self.stage else {
            send.scheduled = false;
            return;
        };
        if !self.sending || self.remote.is_none() {
            send.scheduled = false;
            return;
        }
        let mut wire = Wire {
            sealer: &mut srtp.sealer,
            socket: &self.socket,
            burst: &mut cx.burst,
            transport_sequence: &mut self.transport_sequence,
            library: &cx.library,
            tally: &mut cx.tally,
        };
        send.send_due(cx.now, &mut wire);
        cx.wheel.set(send.due_at, self.id, Timer::Frame(at));
    }

    fn own_ssrc(&self) -> u32 {
        self.sends.first().map_or(RECEIVER_SSRC, |send| send.stream.ssrc)
    }

    pub(super) fn feedback(&mut self, cx: &mut Context) {
        let own = self.own_ssrc();
        let rtt = self.agent.as_ref().map_or(0, |agent| agent.rtt_micros);
        let Stage::Connected(srtp) = &mut self.stage else { return };
        let (socket, burst) = (self.remote.map(|_| &self.socket), &mut cx.burst);
        let send: &mut SendRtcp<'_> = &mut |write| send_rtcp(srtp, socket, burst, write);
        self.receiver.feedback(own, cx.now, rtt, &mut cx.tally, send);
        if self.receiver.needs_feedback {
            self.feedback_is_due = true;
            cx.wheel.set(cx.now + FEEDBACK_MICROS, self.id, Timer::Feedback);
        }
    }

    pub(super) fn transport_feedback(&mut self, cx: &mut Context) {
        let own = self.own_ssrc();
        let Stage::Connected(srtp) = &mut self.stage else { return };
        let (socket, burst) = (self.remote.map(|_| &self.socket), &mut cx.burst);
        self.receiver.transport_feedback(own, &mut cx.tally, &mut |write| {
            send_rtcp(srtp, socket, burst, write);
        });
    }

    /// One compound: what we send with what we got, or the latter alone; and reports alone about more than fit into it.
    pub(super) fn report(&mut self, cx: &mut Context) {
        let own = self.own_ssrc();
        let Stage::Connected(srtp) = &mut self.stage else { return };
        let mut blocks = self.receiver.reports(cx.now);
        let rest = blocks.split_off(blocks.len().min(REPORT_BLOCKS_MAX));
        let has_blocks = !blocks.is_empty();
        let mut infos = self
            .sends
            .iter()
            .filter(|_| self.sending)
            .filter_map(|send| Some((send.stream.ssrc, send.report(cx.now)?)))
            .peekable();
        if infos.peek().is_none() && !has_blocks {
            return;
        }
        let socket = self.remote.map(|_| &self.socket);
        send_rtcp(srtp, socket, &mut cx.burst, &mut |writer| {
            if infos.peek().is_none() {
                let _ = writer.receiver_report(own, &blocks);
            }
            for (ssrc, info) in infos.by_ref() {
                let _ = writer.sender_report(ssrc, &info, &std::mem::take(&mut blocks));
            }
            let _ = writer.cname(own, "load");
        });
        for blocks in rest.chunks(REPORT_BLOCKS_MAX) {
            send_rtcp(srtp, socket, &mut cx.burst, &mut |writer| {
                let _ = writer.receiver_report(own, blocks).and_then(|()| writer.cname(own, "load"));
            });
        }
        if let Some(counts) = cx.tally.now().filter(|_| has_blocks) {
            counts.receiver_reports_sent += 1 + rest.len().div_ceil(REPORT_BLOCKS_MAX) as u64;
        }
    }
}

fn send_rtcp(srtp: &mut Srtp, socket: Option<&UdpSocket>, burst: &mut Burst, write: &mut WriteRtcp<'_>) {
    let out = burst.room();
    let mut writer = RtcpWriter::new(&mut out[..RTCP_BYTES_MAX]);
    write(&mut writer);
    let len = writer.len();
    let Some(socket) = socket.filter(|_| len > 0) else { return };
    if let Ok(sealed) = srtp.sealer.seal_rtcp(out, len) {
        burst.push(sealed, socket);
        burst.flush(socket);
    }
}
