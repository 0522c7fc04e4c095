"""A peer made of aiortc: commands as lines of JSON on standard input, answers on standard output (peers/program.mjs)."""

import asyncio
import fractions
import json
import sys

import numpy
from aiortc import (
    AudioStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp
from av import AudioFrame, VideoFrame

WIDTH, HEIGHT, RATE = 320, 240, 48_000
SAMPLES = RATE // 50


class Picture(VideoStreamTrack):
    """Bars that move, 30 times a second."""

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        column = (numpy.arange(WIDTH) + pts // 3_000) % 256
        bars = numpy.repeat(numpy.tile(column, (HEIGHT, 1))[:, :, None], 3, axis=2).astype(numpy.uint8)
        frame = VideoFrame.from_ndarray(bars, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """440 Hz."""

    at = 0

    async def recv(self):
        silence = await super().recv()
        times = (numpy.arange(silence.samples) + self.at) / silence.sample_rate
        self.at += silence.samples
        samples = (numpy.sin(times * 440 * 2 * numpy.pi) * 8_000).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.pts, frame.sample_rate = silence.pts, silence.sample_rate
        frame.time_base = fractions.Fraction(1, silence.sample_rate)
        return frame


class Peer:
    def __init__(self):
        self.frames = 0
        self.size = None
        self.energy = 0.0
        self.connection = None
        self.tasks = []

    async def offer(self, iceServers, codec, **_):
        servers = [RTCIceServer(**server) for server in iceServers]
        self.connection = connection = RTCPeerConnection(
            # Otherwise a second m-line of a kind stays on a transport that the bundle has closed.
            RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        connection.on("track", self.play)
        connection.addTransceiver(Tone(), direction="sendonly")
        connection.addTransceiver(Picture(), direction="sendonly")
        connection.addTransceiver("audio", direction="recvonly")
        connection.addTransceiver("video", direction="recvonly")
        wanted = [f"video/{codec}".lower(), "video/rtx"]
        codecs = RTCRtpSender.getCapabilities("video").codecs
        for transceiver in connection.getTransceivers():
            if transceiver.kind == "video":
                kept = [one for one in codecs if one.mimeType.lower() in wanted]
                transceiver.setCodecPreferences(kept)
        await connection.setLocalDescription(await connection.createOffer())
        return {"sdp": connection.localDescription.sdp}

    async def answer(self, sdp):
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        # Of m-lines that share a transport it takes the candidates of the last, and here they stand at the first.
        for line in sdp.splitlines():
            if line.startswith("a=candidate:"):
                candidate = candidate_from_sdp(line.removeprefix("a=candidate:"))
                candidate.sdpMid = "0"
                await self.connection.addIceCandidate(candidate)
        return {}

    async def received(self):
        return {
            "state": self.connection.connectionState,
            "frames": self.frames,
            "size": self.size,
            "energy": self.energy,
        }

    def play(self, track):
        self.tasks.append(asyncio.ensure_future(self.take(track)))

    async def take(self, track):
        try:
            while True:
                frame = await track.recv()
                if track.kind == "video":
                    self.frames += 1
                    self.size = f"{frame.width}x{frame.height}"
                else:
                    samples = frame.to_ndarray().astype(float) / 32_768
                    self.energy += float((samples**2).mean()) * frame.samples / frame.sample_rate
        except MediaStreamError:
            pass


async def main():
    peer = Peer()
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_event_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        try:
            result = await getattr(peer, command["method"])(**command.get("params", {}))
            answer = {"id": command["id"], "result": result}
        except Exception as error:  # what a peer cannot do is for the matrix to say
            answer = {"id": command["id"], "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
