"""Codecs for a peer that has none: `codec.py encode CODEC` writes a picture and a tone as they come, `codec.py decode CODEC`
reads what came and says what was in it. A record is a letter (`v` or `a`), a length in four bytes, and so many bytes."""

import json
import struct
import sys
import time
from fractions import Fraction

import av
import numpy

WIDTH, HEIGHT, RATE, FPS = 320, 240, 48_000, 25
ENCODERS = {"VP8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "g": "50"})}
DECODERS = {"VP8": "vp8"}


def encode(codec):
    name, options = ENCODERS[codec]
    video = av.CodecContext.create(name, "w")
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    video.time_base, video.bit_rate, video.options = Fraction(1, FPS), 300_000, options
    audio = av.CodecContext.create("libopus", "w")
    audio.sample_rate, audio.layout, audio.format, audio.bit_rate = RATE, "stereo", "s16", 48_000
    samples = RATE // 50
    began = time.monotonic()
    shown = said = 0
    while True:
        while said * samples / RATE <= time.monotonic() - began:
            times = (numpy.arange(samples) + said * samples) / RATE
            wave = (numpy.sin(times * 440 * 2 * numpy.pi) * 8_000).astype(numpy.int16)
            frame = av.AudioFrame.from_ndarray(numpy.repeat(wave, 2)[None, :], format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, said * samples, Fraction(1, RATE)
            said += 1
            for packet in audio.encode(frame):
                write(b"a", bytes(packet))
        if shown / FPS <= time.monotonic() - began:
            column = (numpy.arange(WIDTH) + shown * 3) % 256
            bars = numpy.repeat(numpy.tile(column, (HEIGHT, 1))[:, :, None], 3, axis=2).astype(numpy.uint8)
            frame = av.VideoFrame.from_ndarray(bars, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = shown, video.time_base
            shown += 1
            for packet in video.encode(frame):
                write(b"v", bytes(packet))
        sys.stdout.buffer.flush()
        time.sleep(0.005)


def write(kind, payload):
    sys.stdout.buffer.write(kind + struct.pack(">I", len(payload)) + payload)


def decode(codec):
    video = av.CodecContext.create(DECODERS[codec], "r")
    audio = av.CodecContext.create("opus", "r")
    audio.sample_rate, audio.layout = RATE, "stereo"
    seen = {"frames": 0, "size": None, "energy": 0.0}
    while head := sys.stdin.buffer.read(5):
        kind, length = struct.unpack(">cI", head)
        packet = av.Packet(sys.stdin.buffer.read(length))
        try:
            if kind == b"v":
                for frame in video.decode(packet):
                    seen["frames"] += 1
                    seen["size"] = f"{frame.width}x{frame.height}"
            else:
                for frame in audio.decode(packet):
                    samples = frame.to_ndarray().astype(float)
                    samples = samples if samples.dtype.kind == "f" and abs(samples).max() <= 1.5 else samples / 32_768
                    seen["energy"] += float((samples**2).mean()) * frame.samples / frame.sample_rate
        except av.error.InvalidDataError:
            # Before the first keyframe there is nothing to decode from.
            continue
        print(json.dumps(seen), flush=True)


{"encode": encode, "decode": decode}[sys.argv[1]](sys.argv[2])
