use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::super::tests::{Client, ClientSetup, start};
use super::super::{RtcDtlsAcceptor, ServerCertificate};
use super::*;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use vestibule_media_core::dtls_gate::{DtlsGate, GateVerdict};

/// A shard's queue.
struct Shard(SyncSender<(AssociationKey, DtlsReply)>);

impl DtlsReplySink for Shard {
    fn reply(&self, association: AssociationKey, reply: DtlsReply) -> Result<(), DtlsReply> {
        self.0.try_send((association, reply)).map_err(|refused| match refused {
            TrySendError::Full((_, reply)) | TrySendError::Disconnected((_, reply)) => reply,
        })
    }
}

fn shard(places: usize) -> (Arc<dyn DtlsReplySink>, Receiver<(AssociationKey, DtlsReply)>) {
    let (sender, receiver) = sync_channel(places);
    (Arc::new(Shard(sender)), receiver)
}

/// An acceptor of associations that do what the test says.
#[derive(Default)]
struct Scripted {
    accepted: AtomicUsize,
    outputs: Arc<Mutex<VecDeque<AssociationOutput>>>,
    deadline: Option<Instant>,
}

struct ScriptedAssociation {
    outputs: Arc<Mutex<VecDeque<AssociationOutput>>>,
    deadline: Option<Instant>,
}

impl DtlsAcceptor for Scripted {
    fn accept(&self, _: SrtpProfile, _: Instant) -> Result<Box<dyn DtlsAssociation>, DtlsError> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(ScriptedAssociation { outputs: Arc::clone(&self.outputs), deadline: self.deadline }))
    }
}

impl DtlsAssociation for ScriptedAssociation {
    fn handle_datagram(&mut self, _: &[u8], _: Instant) {}

    fn handle_timeout(&mut self, _: Instant) {
        self.deadline = None;
        self.outputs.lock().unwrap().push_back(AssociationOutput::Failed(DtlsError::Timeout));
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn poll(&mut self) -> Option<AssociationOutput> {
        self.outputs.lock().unwrap().pop_front()
    }
}

fn worker(acceptor: &Arc<Scripted>) -> Worker {
    let acceptor: Arc<dyn DtlsAcceptor> = Arc::<Scripted>::clone(acceptor);
    Worker::new(acceptor, Arc::default())
}

fn hello(key: u64, sink: &Arc<dyn DtlsReplySink>) -> Job {
    let request = DtlsRequest::ClientHello { datagram: vec![1], profile: SrtpProfile::AeadAes128Gcm };
    Job { key: AssociationKey(key), request, sink: Arc::clone(sink) }
}

fn job(key: u64, request: DtlsRequest, sink: &Arc<dyn DtlsReplySink>) -> Job {
    Job { key: AssociationKey(key), request, sink: Arc::clone(sink) }
}

fn established() -> AssociationOutput {
    let profile = SrtpProfile::AeadAes128Gcm;
    AssociationOutput::Established {
        keys: KeyingMaterial::from_exporter(profile, &[1; 56]).unwrap(),
        fingerprint: Fingerprint::from_sha256([2; 32]),
    }
}

#[test]
fn repeated_hellos_start_one_association_and_forget_ends_it() {
    let acceptor = Arc::new(Scripted::default());
    let mut worker = worker(&acceptor);
    let (sink, _replies) = shard(4);
    let now = start();
    worker.handle(job(7, DtlsRequest::Datagram(vec![1]), &sink), now);
    assert!(worker.associations.is_empty(), "only a ClientHello starts one");
    worker.handle(hello(7, &sink), now);
    worker.handle(hello(7, &sink), now);
    assert_eq!(acceptor.accepted.load(Ordering::Relaxed), 1);
    worker.handle(job(7, DtlsRequest::Forget, &sink), now);
    worker.handle(job(7, DtlsRequest::Forget, &sink), now);
    assert!(worker.associations.is_empty() && worker.deadlines.is_empty());
}

#[test]
fn answers_that_matter_wait_for_a_full_shard_and_datagrams_do_not() {
    let acceptor = Arc::new(Scripted::default());
    let mut worker = worker(&acceptor);
    let (sink, replies) = shard(1);
    let mut now = start();
    let outputs = [
        AssociationOutput::Transmit(vec![1]),
        AssociationOutput::Transmit(vec![2]),
        established(),
        AssociationOutput::Closed,
    ];
    acceptor.outputs.lock().unwrap().extend(outputs);
    worker.handle(hello(7, &sink), now);
    assert_eq!(worker.counters.lost.load(Ordering::Relaxed), 1);
    assert!(
        matches!(replies.try_recv(), Ok((AssociationKey(7), DtlsReply::Transmit(datagram))) if datagram == [1])
    );
    for expected in ["Established", "Closed"] {
        now = worker.next_deadline().expect("it will be tried again");
        worker.handle_timeouts(now);
        let (_, reply) = replies.try_recv().expect(expected);
        assert!(format!("{reply:?}").starts_with(expected), "{reply:?}");
    }
    now += UNSENT_RETRY;
    worker.handle_timeouts(now);
    assert!(worker.associations.is_empty() && worker.deadlines.is_empty());
}

#[test]
fn a_shard_that_is_gone_leaves_nothing_behind() {
    let acceptor = Arc::new(Scripted::default());
    let mut worker = worker(&acceptor);
    let (sink, replies) = shard(1);
    drop(replies);
    acceptor.outputs.lock().unwrap().push_back(AssociationOutput::Failed(DtlsError::Timeout));
    worker.handle(hello(7, &sink), start());
    while let Some(at) = worker.next_deadline() {
        worker.handle_timeouts(at);
    }
    assert!(worker.associations.is_empty());
}

#[test]
fn timeouts_clean_up() {
    let now = start();
    let deadline = Some(now + Duration::from_secs(30));
    let acceptor = Arc::new(Scripted { deadline, ..Scripted::default() });
    let mut worker = worker(&acceptor);
    let (sink, replies) = shard(16);
    for key in 0..10 {
        worker.handle(hello(key, &sink), now);
    }
    assert_eq!(worker.next_deadline(), deadline);
    worker.handle_timeouts(now + Duration::from_secs(29));
    assert_eq!(worker.associations.len(), 10);
    worker.handle_timeouts(now + Duration::from_secs(30));
    assert!(worker.associations.is_empty() && worker.deadlines.is_empty());
    assert_eq!(replies.try_iter().filter(|(_, reply)| matches!(reply, DtlsReply::Failed(_))).count(), 10);
}

#[test]
fn associations_are_bounded_and_only_complete_ones_give_way() {
    let acceptor = Arc::new(Scripted::default());
    let mut worker = worker(&acceptor);
    let (sink, replies) = shard(ASSOCIATIONS_MAX * 2);
    let now = start();
    for key in 0..ASSOCIATIONS_MAX as u64 {
        worker.handle(hello(key, &sink), now);
    }
    worker.handle(hello(100_000, &sink), now);
    assert_eq!(worker.associations.len(), ASSOCIATIONS_MAX);
    let (_, refusal) = replies.try_recv().expect("a refusal");
    assert!(matches!(refusal, DtlsReply::Failed(DtlsError::TooManyAssociations)));
    acceptor.outputs.lock().unwrap().push_back(established());
    worker.handle(job(5, DtlsRequest::Datagram(vec![1]), &sink), now);
    worker.handle(hello(100_000, &sink), now);
    assert_eq!(worker.associations.len(), ASSOCIATIONS_MAX);
    assert!(!worker.associations.contains_key(&AssociationKey(5)));
    assert!(worker.associations.contains_key(&AssociationKey(100_000)));
}

/// A worker that sleeps in its sink: the shard's side must not notice but for refusals.
struct Stuck(Mutex<Receiver<()>>);

impl DtlsReplySink for Stuck {
    fn reply(&self, _: AssociationKey, _: DtlsReply) -> Result<(), DtlsReply> {
        let _ = self.0.lock().unwrap().recv();
        Ok(())
    }
}

#[test]
fn a_flood_is_refused_without_waiting_and_leaves_room_to_forget() {
    let scripted = Arc::new(Scripted::default());
    scripted.outputs.lock().unwrap().push_back(AssociationOutput::Transmit(vec![1]));
    let acceptor: Arc<dyn DtlsAcceptor> = scripted;
    let workers = DtlsWorkers::start(1, &acceptor).unwrap();
    let (release, wait) = std::sync::mpsc::channel();
    let sink: Arc<dyn DtlsReplySink> = Arc::new(Stuck(Mutex::new(wait)));
    let key = AssociationKey(1);
    let hello = DtlsRequest::ClientHello { datagram: vec![1], profile: SrtpProfile::AeadAes128Gcm };
    workers.send(key, hello, &sink).unwrap();
    let datagram = || DtlsRequest::Datagram(vec![0; 1_200]);
    let taken = (0..5_000).filter(|_| workers.send(key, datagram(), &sink).is_ok()).count();
    assert!((DATAGRAMS_QUEUED_MAX - 1..=DATAGRAMS_QUEUED_MAX).contains(&taken), "{taken}");
    assert_eq!(workers.send(key, datagram(), &sink), Err(DtlsBusy));
    assert_eq!(workers.send(key, DtlsRequest::Forget, &sink), Ok(()));
    assert!(workers.counters().refused > 3_000);
    drop(release);
    workers.shutdown();
}

/// Real threads, real time, no loss: eight peers on two workers.
#[test]
fn handshakes_complete_on_worker_threads() {
    let certificate = ServerCertificate::generate().unwrap();
    let acceptor: Arc<dyn DtlsAcceptor> = Arc::new(RtcDtlsAcceptor::new(&certificate).unwrap());
    let workers = DtlsWorkers::start(2, &acceptor).unwrap();
    let (sink, replies) = shard(1_024);
    let setup = ClientSetup::new(&[SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm], true);
    let mut peers: Vec<(Client, DtlsGate)> =
        (0..8).map(|_| (Client::connect(&setup, start()), DtlsGate::default())).collect();
    let mut established = 0;
    loop {
        for (number, (client, gate)) in peers.iter_mut().enumerate() {
            for datagram in client.take_outbox() {
                let request = match gate.inspect(&datagram) {
                    GateVerdict::Pass => DtlsRequest::Datagram(datagram),
                    GateVerdict::ClientHello { datagram, profile } => {
                        DtlsRequest::ClientHello { datagram, profile }
                    }
                    GateVerdict::Hold | GateVerdict::Refuse(_) => continue,
                };
                workers.send(AssociationKey(number as u64), request, &sink).unwrap();
            }
        }
        if established == 8 && peers.iter().all(|(client, _)| client.complete) {
            break;
        }
        let (key, reply) =
            replies.recv_timeout(Duration::from_secs(20)).expect("a worker has stopped answering");
        let (client, gate) = &mut peers[key.0 as usize];
        match reply {
            DtlsReply::Transmit(datagram) => {
                gate.sent(&datagram);
                client.receive(&datagram, start());
            }
            DtlsReply::Established { .. } => {
                gate.established();
                established += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let counters = workers.counters();
    assert_eq!((counters.started, counters.established, counters.failed), (8, 8, 0));
    workers.shutdown();
}
