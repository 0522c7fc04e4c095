//! The program that encodes and decodes: frames on its pipes, each behind its length (32 bits, big-endian).

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};

use crate::Result;

/// What was decoded so far, as the decoders tell it.
pub(crate) type Decoded = Arc<Mutex<Map<String, Value>>>;

#[derive(Clone)]
pub(crate) struct Codecs {
    program: OsString,
    args: Vec<OsString>,
}

impl Codecs {
    pub(crate) fn new(mut args: impl Iterator<Item = OsString>) -> Result<Self> {
        let program = args.next().ok_or("usage: interop-webrtc-peer CODEC-PROGRAM [ARG]…")?;
        Ok(Self { program, args: args.collect() })
    }

    /// Frames to be sent again and again, the first a key frame.
    pub(crate) async fn encode(&self, codec: &str) -> Result<Vec<Bytes>> {
        let output = self.command("encode", codec).output().await?;
        if !output.status.success() {
            return Err(format!("{codec}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let mut rest = Bytes::from(output.stdout);
        let mut frames = Vec::new();
        while rest.has_remaining() {
            let length = rest.try_get_u32()? as usize;
            if length > rest.len() {
                return Err("a frame is cut short".into());
            }
            frames.push(rest.split_to(length));
        }
        Ok(frames)
    }

    pub(crate) fn decoder(&self, codec: &str, decoded: Decoded) -> Result<Decoder> {
        let mut child = self.command("decode", codec).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a child without pipes".into());
        };
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(Value::Object(seen)) = serde_json::from_str(&line) else { continue };
                decoded.lock().expect("no holder panics").extend(seen);
            }
            child.wait().await
        });
        Ok(Decoder { stdin })
    }

    fn command(&self, mode: &str, codec: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).args([mode, codec]).stdin(Stdio::null());
        command
    }
}

/// Takes frames; ends with its input, if not before.
pub(crate) struct Decoder {
    stdin: ChildStdin,
}

impl Decoder {
    pub(crate) async fn decode(&mut self, frame: &[u8]) -> Result<()> {
        self.stdin.write_u32(u32::try_from(frame.len())?).await?;
        self.stdin.write_all(frame).await?;
        Ok(())
    }
}
