"""Encodes and decodes for a peer without codecs: frames on a pipe, each behind its length (32 bits, big-endian).

    codec.py encode CODEC    writes two seconds of a picture or a tone that can be repeated: the first frame is a key frame
    codec.py decode CODEC    reads frames, and writes what was decoded so far, as lines of JSON
"""

import fractions
import json
import struct
import sys

import av
import numpy

WIDTH, HEIGHT, FRAMES_PER_SECOND = 320, 240, 25
SAMPLE_RATE, SAMPLES = 48_000, 960
SECONDS = 2
LIBVPX = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
ENCODERS = {
    "VP8": ("libvpx", LIBVPX),
    "VP9": ("libvpx-vp9", LIBVPX),
    "H264": ("libx264", {"profile": "baseline", "preset": "ultrafast", "tune": "zerolatency"}),
    # Low delay: a frame for each picture, and none that is not shown.
    "AV1": ("libsvtav1", {"preset": "12", "svtav1-params": "pred-struct=1:rc=2:scd=0"}),
    "OPUS": ("libopus", {"frame_duration": "20"}),
}
DECODERS = {"VP8": "libvpx", "VP9": "libvpx-vp9", "H264": "h264", "AV1": "libdav1d", "OPUS": "libopus"}
LENGTH = struct.Struct(">I")


def encode(codec):
    name, options = ENCODERS[codec]
    encoder = av.CodecContext.create(name, "w")
    encoder.options = options
    if codec == "OPUS":
        encoder.sample_rate, encoder.format, encoder.layout = SAMPLE_RATE, "s16", "stereo"
        encoder.bit_rate = 32_000
        frames = tone()
    else:
        encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        encoder.time_base = fractions.Fraction(1, FRAMES_PER_SECOND)
        encoder.bit_rate = 100_000
        encoder.gop_size = SECONDS * FRAMES_PER_SECOND
        frames = pictures()
    for frame in [*frames, None]:
        for packet in encoder.encode(frame):
            data = bytes(packet)
            sys.stdout.buffer.write(LENGTH.pack(len(data)) + data)


def pictures():
    """Bars that move."""
    for count in range(SECONDS * FRAMES_PER_SECOND):
        column = (numpy.arange(WIDTH) + 5 * count) % 256
        bars = numpy.repeat(numpy.tile(column, (HEIGHT, 1))[:, :, None], 3, axis=2).astype(numpy.uint8)
        frame = av.VideoFrame.from_ndarray(bars, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = count, fractions.Fraction(1, FRAMES_PER_SECOND)
        yield frame


def tone():
    """440 Hz."""
    for at in range(0, SECONDS * SAMPLE_RATE, SAMPLES):
        times = (numpy.arange(SAMPLES) + at) / SAMPLE_RATE
        samples = (numpy.sin(times * 440 * 2 * numpy.pi) * 8_000).astype(numpy.int16)
        frame = av.AudioFrame.from_ndarray(numpy.repeat(samples, 2)[None, :], format="s16", layout="stereo")
        frame.pts, frame.sample_rate = at, SAMPLE_RATE
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE)
        yield frame


def decode(codec):
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    # More threads would hold frames back.
    decoder.thread_count = 1
    count, energy = 0, 0.0
    while header := sys.stdin.buffer.read(LENGTH.size):
        data = sys.stdin.buffer.read(LENGTH.unpack(header)[0])
        try:
            frames = decoder.decode(av.Packet(data))
        except av.FFmpegError as error:
            # Until there is a key frame.
            print(f"{codec}: {error}", file=sys.stderr, flush=True)
            continue
        for frame in frames:
            if codec == "OPUS":
                samples = frame.to_ndarray().astype(float)
                if frame.format.name.startswith("s16"):
                    samples /= 32_768
                energy += float((samples**2).mean()) * frame.samples / frame.sample_rate
                seen = {"energy": energy}
            else:
                count += 1
                seen = {"frames": count, "size": f"{frame.width}x{frame.height}"}
            print(json.dumps(seen), flush=True)


{"encode": encode, "decode": decode}[sys.argv[1]](sys.argv[2])
