//! One participant's signaling: tracks are announced, then offered; what the server offers is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::signal::{
    AddTrack, CandidateInit, Description as Jsep, Request, Response, Signal, Target, Trickle,
};
use crate::cast::Cast;
use crate::client::{Connect, PerKind, Receives, TransportError};
use crate::scenario::Person;
use crate::sdp::{self, Description};
use crate::server::ServerError;
use crate::server::streams::{self, Planned};
use crate::transports::{Transport, Transports};

/// What a line tells.
#[derive(Clone, Default)]
struct Progress {
    subscriber: Option<Arc<Transport>>,
    failure: Option<ServerError>,
}

/// A line as the participant sees it.
#[derive(Clone)]
pub(super) struct Watched {
    /// Of those who send.
    pub(super) publisher: Option<Arc<Transport>>,
    progress: watch::Receiver<Progress>,
}

/// The signaling of one participant.
pub(super) struct Line {
    signal: Signal,
    transports: Transports,
    expected: PerKind<u32>,
    publication: Option<Publication>,
    progress: watch::Sender<Progress>,
}

/// What is published, on its way there.
struct Publication {
    transport: Arc<Transport>,
    /// Microphone and camera, as far as they are on; the mid of each is its index.
    sources: Vec<Vec<Planned>>,
    announced: usize,
    answer: Option<Description>,
    candidates: Vec<SocketAddr>,
    is_connected: bool,
}

impl Line {
    /// A line, and the participant's view of it.
    pub(super) fn new(
        signal: Signal,
        transports: &Transports,
        person: &Person,
        cast: &Cast,
    ) -> Result<(Self, Watched), ServerError> {
        let sources = [streams::microphone(person, cast), streams::camera(person, cast)];
        let sources: Vec<_> = sources.into_iter().filter(|source| !source.is_empty()).collect();
        let publication = if sources.is_empty() {
            None
        } else {
            let transport = Arc::new(transports.open(PerKind::default())?);
            let candidates = Vec::new();
            Some(Publication {
                transport,
                sources,
                announced: 0,
                answer: None,
                candidates,
                is_connected: false,
            })
        };
        let (progress, receiver) = watch::channel(Progress::default());
        let publisher = publication.as_ref().map(|publication| Arc::clone(&publication.transport));
        let watched = Watched { publisher, progress: receiver };
        Ok((
            Self {
                signal,
                transports: transports.clone(),
                expected: person.expected(),
                publication,
                progress,
            },
            watched,
        ))
    }

    /// Until the server ends it, or the task is aborted.
    pub(super) async fn run(mut self) {
        let Err(failure) = self.follow().await;
        self.progress.send_modify(|progress| progress.failure = Some(failure));
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, ServerError> {
        if let Some(publication) = &self.publication {
            for (mid, source) in publication.sources.iter().enumerate() {
                self.signal.send(Request::AddTrack(AddTrack::new(track_id(mid), source)))?;
            }
        }
        loop {
            let Some(response) = self.signal.responses.recv().await else {
                return Err(ServerError::Closed("LiveKit ended the WebSocket".to_owned()));
            };
            self.hear(response)?;
        }
    }

    fn hear(&mut self, response: Response) -> Result<(), ServerError> {
        if let Some(reason) = response.leave {
            return Err(ServerError::Closed(format!("LiveKit asks to leave: {reason}")));
        }
        if let Some(offer) = response.offer {
            self.answer(&offer)?;
        }
        let Some(publication) = &mut self.publication else { return Ok(()) };
        if response.track_published.is_some() {
            publication.announced += 1;
            if publication.announced == publication.sources.len() {
                let offer = publication.offer();
                self.signal.send(Request::Offer(offer))?;
            }
        }
        if let Some(answer) = response.answer {
            let answer = read(&answer)?;
            publication.candidates.extend(&answer.candidates);
            publication.answer = Some(answer);
        }
        if let Some(trickle) = response.trickle {
            publication
                .candidates
                .extend(candidate(&trickle).filter(|_| trickle.target == Target::Publisher));
        }
        publication.connect_when_ready()
    }

    /// Takes everything the server offers, on one transport.
    fn answer(&self, offer: &Jsep) -> Result<(), ServerError> {
        let offer = read(offer)?;
        let known = self.progress.borrow().subscriber.clone();
        let is_new = known.is_none();
        let transport = match known {
            Some(transport) => transport,
            None => Arc::new(self.transports.open(self.expected)?),
        };
        let (plane, local) = (transport.plane(), &transport.local);
        let sdp = sdp::answer(&offer, &local.ice, &plane.fingerprint(), local.address);
        if is_new {
            // The server offered, so it is controlling, and finds us by the candidate in our answer.
            let (remote, receives) = (offer.remote(), offer.receives());
            plane.connect(
                local.id,
                Connect { remote, controlling: offer.ice_lite, sends: Vec::new(), receives },
            );
            self.progress.send_modify(|progress| progress.subscriber = Some(Arc::clone(&transport)));
        } else {
            plane.extend(local.id, offer.receives());
        }
        self.signal.send(Request::Answer(Jsep { kind: "answer".to_owned(), sdp }))
    }
}

impl Publication {
    fn offer(&self) -> Jsep {
        let offer = streams::publication(&self.transport, &self.sources);
        Jsep { kind: "offer".to_owned(), sdp: offer.to_sdp() }
    }

    /// Once there is an answer and one address at least.
    fn connect_when_ready(&mut self) -> Result<(), ServerError> {
        let Some(answer) = self.answer.as_ref().filter(|_| !self.is_connected && !self.candidates.is_empty())
        else {
            return Ok(());
        };
        let mut sends = Vec::new();
        for (mid, source) in self.sources.iter().enumerate() {
            sends.extend(streams::agreed(source, &mid.to_string(), answer)?);
        }
        let mut remote = answer.remote();
        remote.candidates.clone_from(&self.candidates);
        let connect = Connect { remote, controlling: true, sends, receives: Receives::default() };
        self.transport.plane().connect(self.transport.local.id, connect);
        self.is_connected = true;
        Ok(())
    }
}

impl Watched {
    /// Waits until the server has offered the transport on which others' media comes.
    pub(super) async fn subscriber(&self) -> Result<Arc<Transport>, ServerError> {
        let mut progress = self.progress.clone();
        let there = |progress: &Progress| progress.failure.is_some() || progress.subscriber.is_some();
        let found = progress.wait_for(there).await.map_err(|_| left())?;
        match (&found.failure, &found.subscriber) {
            (None, Some(transport)) => Ok(Arc::clone(transport)),
            (failure, _) => Err(failure.clone().unwrap_or_else(left)),
        }
    }

    /// What comes first: what is waited for, or the end of the line.
    pub(super) async fn or_failure(
        &self,
        waited: impl Future<Output = Result<Instant, TransportError>>,
    ) -> Result<Instant, ServerError> {
        let mut progress = self.progress.clone();
        tokio::select! {
            waited = waited => Ok(waited?),
            ended = progress.wait_for(|progress| progress.failure.is_some()) => {
                Err(ended.ok().and_then(|progress| progress.failure.clone()).unwrap_or_else(left))
            }
        }
    }

    /// Why it does not go on.
    pub(super) fn failure(&self) -> Option<String> {
        let progress = self.progress.borrow();
        let transports = self.publisher.iter().chain(&progress.subscriber);
        let failed = transports.filter_map(|transport| transport.progress().failed).next();
        failed.map(|failed| failed.to_string()).or_else(|| progress.failure.as_ref().map(ToString::to_string))
    }
}

/// As our offers name a track in `msid`.
fn track_id(mid: usize) -> String {
    format!("track-{mid}")
}

fn read(description: &Jsep) -> Result<Description, ServerError> {
    Description::parse(&description.sdp).map_err(|error| ServerError::Protocol(error.to_string()))
}

/// The address in a trickled candidate, if it is one over UDP.
fn candidate(trickle: &Trickle) -> Option<SocketAddr> {
    let init: CandidateInit = serde_json::from_str(&trickle.candidate_init).ok()?;
    sdp::candidate(init.candidate.strip_prefix("candidate:")?)
}

fn left() -> ServerError {
    ServerError::Closed("left".to_owned())
}
