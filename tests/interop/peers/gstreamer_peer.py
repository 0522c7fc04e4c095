"""A peer made of GStreamer's webrtcbin: commands as lines of JSON on standard input, answers on standard output."""

import json
import re
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

# Without a format VP9 would be of profile 3.
PICTURE = "video/x-raw,format=I420,width=320,height=240,framerate=30/1"
# Until it is connected nothing leaves, and then what has waited would leave at once, as if so much were sent all the time.
LATEST = "queue leaky=downstream max-size-buffers=5"
ENCODERS = {
    "VP8": "vp8enc deadline=1 cpu-used=8 target-bitrate=200000 keyframe-max-dist=3000 ! rtpvp8pay pt=96 picture-id-mode=2",
    "VP9": "vp9enc deadline=1 cpu-used=8 target-bitrate=200000 keyframe-max-dist=3000 ! rtpvp9pay pt=96 picture-id-mode=2",
    "H264": "openh264enc bitrate=200000 ! h264parse config-interval=-1 ! rtph264pay pt=96 aggregate-mode=zero-latency",
}
DECODERS = {
    "VP8": "rtpvp8depay request-keyframe=true ! vp8dec",
    "VP9": "rtpvp9depay request-keyframe=true ! vp9dec",
    "H264": "rtph264depay request-keyframe=true ! h264parse ! openh264dec",
    "OPUS": "rtpopusdepay ! opusdec",
}
# What an offer is to say of what is received; of what is sent, the payloaders do.
FORMATS = {"H264": ",packetization-mode=(string)1,profile-level-id=(string)42e01f"}
FEEDBACK = "rtcp-fb-nack=true,rtcp-fb-nack-pli=true,rtcp-fb-ccm-fir=true"

# How long anything may take that is over at once.
SECONDS_MAX = 10


class Peer:
    def __init__(self):
        self.frames = 0
        self.size = None
        self.energy = 0.0
        self.pipeline = None
        self.bin = None
        # What a reply holds goes with it.
        self.replies = []

    def offer(self, iceServers, codec, relayOnly=False, **_):
        video = f"application/x-rtp,media=video,encoding-name={codec},payload=96,clock-rate=90000,{FEEDBACK}"
        audio = "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2"
        self.pipeline = Gst.parse_launch(
            "webrtcbin name=peer bundle-policy=max-bundle "
            f"audiotestsrc is-live=true wave=sine freq=440 ! audio/x-raw,rate=48000,channels=2 ! {LATEST} ! opusenc ! "
            f"rtpopuspay pt=111 ! {audio} ! peer. "
            f"videotestsrc is-live=true pattern=ball ! {PICTURE} ! {LATEST} ! "
            f"{ENCODERS[codec]} ! {video} ! peer."
        )
        self.bin = self.pipeline.get_by_name("peer")
        for server in iceServers:
            for url in server["urls"]:
                self.add_server(url, server)
        if relayOnly:
            self.bin.set_property("ice-transport-policy", GstWebRTC.WebRTCICETransportPolicy.RELAY)
        for index in (0, 1):
            transceiver = self.bin.emit("get-transceiver", index)
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
            transceiver.set_property("do-nack", index == 1)
        receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
        self.bin.emit("add-transceiver", receive, Gst.Caps.from_string(audio))
        transceiver = self.bin.emit("add-transceiver", receive, Gst.Caps.from_string(video + FORMATS.get(codec, "")))
        transceiver.set_property("do-nack", True)
        self.bin.connect("pad-added", self.play)
        self.pipeline.set_state(Gst.State.PLAYING)
        # An offer made before a payloader has said its caps names no SSRC, and by nothing else is a voice told from others here.
        for pad in self.bin.sinkpads:
            until(pad, "notify::caps", pad.get_current_caps)
        offer = self.ask("create-offer", None).get_value("offer")
        self.ask("set-local-description", offer)
        return {"sdp": self.gathered().sdp.as_text()}

    def add_server(self, url, server):
        scheme, rest = url.split(":", 1)
        if scheme == "stun":
            self.bin.set_property("stun-server", f"stun://{rest}")
        else:
            name, password = (GLib.Uri.escape_string(server[key], None, False) for key in ("username", "credential"))
            self.bin.emit("add-turn-server", f"{scheme}://{name}:{password}@{rest}")

    def answer(self, sdp):
        _, message = GstSdp.SDPMessage.new_from_text(sdp)
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        self.ask("set-remote-description", GstWebRTC.WebRTCSessionDescription.new(kind, message))
        # It takes no candidate of a description; a browser does.
        for line in sdp.splitlines():
            if line.startswith("a=candidate:"):
                self.bin.emit("add-ice-candidate", 0, line.removeprefix("a="))
        return {}

    def received(self):
        state = self.bin.get_property("connection-state").value_nick
        return {"state": state, "frames": self.frames, "size": self.size, "energy": self.energy}

    def ask(self, signal, *arguments):
        promise = Gst.Promise.new()
        self.bin.emit(signal, *arguments, promise)
        promise.wait()
        reply = promise.get_reply()
        self.replies.append(reply)
        if reply is not None and reply.has_field("error"):
            raise RuntimeError(reply.get_value("error").message)
        return reply

    def gathered(self):
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        until(self.bin, "notify::ice-gathering-state", lambda: self.bin.get_property("ice-gathering-state") == complete)
        return self.bin.get_property("local-description")

    def play(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        caps = pad.get_current_caps().get_structure(0)
        is_video = caps.get_string("media") == "video"
        decoder = DECODERS[caps.get_string("encoding-name")]
        tail = "videoconvert ! video/x-raw" if is_video else "audioconvert ! audio/x-raw,format=S16LE ! level interval=100000000"
        sink = Gst.parse_bin_from_description(f"queue ! {decoder} ! {tail} ! fakesink name=sink sync=false async=false", True)
        if is_video:
            sink.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, self.see)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def see(self, pad, _):
        self.frames += 1
        structure = pad.get_current_caps().get_structure(0)
        self.size = f"{structure.get_value('width')}x{structure.get_value('height')}"
        return Gst.PadProbeReturn.OK

    def hear(self, _, message):
        structure = message.get_structure()
        if structure is not None and structure.get_name() == "level":
            loudest = max(structure.get_value("rms"))
            self.energy += 10 ** (loudest / 10) * 0.1

    def listen(self):
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::element", self.hear)


def until(thing, signal, condition):
    """Waits until a condition holds, which is looked at again at each signal."""
    done = threading.Event()
    look = lambda *_: condition() and done.set()  # noqa: E731
    handler = thing.connect(signal, look)
    look()
    held = done.wait(SECONDS_MAX)
    thing.disconnect(handler)
    if not held:
        raise TimeoutError(f"{signal} of {thing.get_name()}")


def main():
    Gst.init(None)
    loop = GLib.MainLoop()
    threading.Thread(target=loop.run, daemon=True).start()
    peer = Peer()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            result = getattr(peer, command["method"])(**command.get("params", {}))
            if command["method"] == "offer":
                peer.listen()
            answer = {"id": command["id"], "result": result}
        except Exception as error:  # what a peer cannot do is for the matrix to say
            answer = {"id": command["id"], "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    # Its threads do not always end.
    sys.stdout.flush()
    import os

    os._exit(0)


main()
