//! A peer made of the `webrtc` crate: commands as lines of JSON on standard input, answers on standard output
//! (peers/program.mjs). The crate has no codecs: they are a program of their own, named by the arguments.

#![expect(clippy::disallowed_methods, reason = "the crate is told the time by who uses it")]

mod codec;
mod depacketizer;
mod formats;
mod key_frames;
mod peer;
mod receive;
mod replay;
mod send;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use crate::codec::Codecs;
use crate::peer::{Peer, Wish};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Deserialize)]
struct Command {
    id: u64,
    #[serde(flatten)]
    method: Method,
}

#[derive(Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "camelCase")]
enum Method {
    Offer(Wish),
    Answer { sdp: String },
    Received {},
}

#[derive(Serialize)]
struct Answer {
    id: u64,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Result(Value),
    Error(String),
}

#[tokio::main]
async fn main() -> Result<()> {
    let codecs = Codecs::new(std::env::args_os().skip(1))?;
    let mut peer = None;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let Command { id, method } = serde_json::from_str(&line)?;
        let outcome = match perform(&mut peer, &codecs, method).await {
            Ok(result) => Outcome::Result(result),
            Err(error) => Outcome::Error(error.to_string()),
        };
        println!("{}", serde_json::to_string(&Answer { id, outcome })?);
    }
    Ok(())
}

async fn perform(peer: &mut Option<Peer>, codecs: &Codecs, method: Method) -> Result<Value> {
    match method {
        Method::Offer(wish) => peer.insert(Peer::new(codecs, wish).await?).offer().await,
        Method::Answer { sdp } => peer.as_mut().ok_or("an offer comes first")?.answer(sdp).await,
        Method::Received {} => peer.as_ref().ok_or("an offer comes first")?.received(),
    }
}
