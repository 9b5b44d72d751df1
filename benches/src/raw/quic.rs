//! Round trips and tasks over QUIC between two processes, with quinn and nothing else.
//!
//! Settings: loopback, MTU 65507, segmentation offload off, an initial window that lets the first packet out
//! (`LIMITS.md`, section 2). One long-lived stream a mode; what is waiting is written together.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use quinn::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use quinn::{RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::Result;
use crate::groups::this_program;
use crate::measure::{Trips, check};

const MTU: u16 = 65507;
/// Frames that are written together.
const BATCH: i64 = 512;
const HELLO: usize = 64;

/// What a stream is for: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// The reader's thread answers what it read.
    Bare = b'b',
    /// The reader hands it to another thread, which answers.
    HandOff = b'h',
    /// Frames with a task each; the reader's thread runs them.
    TasksOnReader = b'r',
    /// As above; another thread runs them.
    TasksOnThread = b't',
}

#[derive(Serialize, Deserialize)]
struct Task {
    seq: u64,
    function: u32,
    x: i64,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    seq: u64,
    value: i64,
}

const FUNCTIONS: [fn(i64) -> i64; 1] = [|x| std::hint::black_box(x)];

fn transport() -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    let mut congestion = quinn::congestion::CubicConfig::default();
    congestion.initial_window(2 << 20);
    transport
        .initial_mtu(MTU)
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false)
        .congestion_controller_factory(Arc::new(congestion))
        .initial_rtt(Duration::from_millis(1))
        .stream_receive_window((64u32 << 20).into())
        .receive_window((256u32 << 20).into())
        .send_window(256 << 20);
    Arc::new(transport)
}

fn endpoint(server: Option<quinn::ServerConfig>) -> Result<quinn::Endpoint> {
    let mut config = quinn::EndpointConfig::default();
    config.max_udp_payload_size(MTU)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(quinn::Endpoint::new(config, server, socket, Arc::new(quinn::TokioRuntime))?)
}

fn put_frame<T: Serialize>(out: &mut BytesMut, value: &T) -> Result<()> {
    let mut body = [0u8; 32];
    let body = postcard::to_slice(value, &mut body)?;
    out.put_u32_le(body.len() as u32);
    out.extend_from_slice(body);
    Ok(())
}

/// Complete frames of a stream, whatever the pieces they came in.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Frames {
    fn read<T: for<'a> Deserialize<'a>>(&mut self, chunk: &[u8], mut each: impl FnMut(T)) -> Result<()> {
        self.0.extend_from_slice(chunk);
        let mut rest = &self.0[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((body, after)) = after.split_at_checked(length) else { break };
            each(postcard::from_bytes(body)?);
            rest = after;
        }
        let done = self.0.len() - rest.len();
        self.0.drain(..done);
        Ok(())
    }
}

// ---- the other process

/// The peer: `--internal-part raw-quic`. Ends when its standard input does.
pub(crate) async fn serve() -> Result<()> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let certificate = rcgen::CertificateParams::new(vec!["raw".to_string()])?.self_signed(&key)?.der().clone();
    let hex: String = certificate.iter().map(|byte| format!("{byte:02x}")).collect();
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut server = quinn::ServerConfig::with_single_cert(vec![certificate], private.into())?;
    server.transport_config(transport());
    let endpoint = endpoint(Some(server))?;
    println!("{} {hex}", endpoint.local_addr()?.port());
    thread::spawn(|| {
        let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0u8]);
        std::process::exit(0);
    });
    let connection = endpoint.accept().await.ok_or("nobody dials")?.await?;
    while let Ok((send, mut receive)) = connection.accept_bi().await {
        let mut mode = [0u8];
        receive.read_exact(&mut mode).await?;
        tokio::spawn(async move {
            let done = match mode[0] {
                m if m == Mode::Bare as u8 => bare(send, receive).await,
                m if m == Mode::TasksOnReader as u8 => tasks(send, receive).await,
                m if m == Mode::HandOff as u8 => on_thread(send, receive, |chunk| Ok(Some(chunk))).await,
                _ => {
                    let mut frames = Frames::default();
                    on_thread(send, receive, move |chunk| run(&mut frames, &chunk)).await
                }
            };
            if let Err(error) = done {
                eprintln!("raw-quic: {error}");
            }
        });
    }
    Ok(())
}

async fn bare(mut send: SendStream, mut receive: RecvStream) -> Result<()> {
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        send.write_chunk(chunk.bytes).await?;
    }
    Ok(())
}

/// Runs the tasks of the frames that are complete; their replies.
fn run(frames: &mut Frames, chunk: &[u8]) -> Result<Option<Bytes>> {
    let mut out = BytesMut::new();
    let mut failed = None;
    frames.read(chunk, |task: Task| {
        let Some(function) = FUNCTIONS.get(task.function as usize) else { return };
        let reply = Reply { seq: task.seq, value: function(task.x) };
        failed = put_frame(&mut out, &reply).err();
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok((!out.is_empty()).then(|| out.freeze())),
    }
}

async fn tasks(mut send: SendStream, mut receive: RecvStream) -> Result<()> {
    let mut frames = Frames::default();
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        if let Some(replies) = run(&mut frames, &chunk.bytes)? {
            send.write_chunk(replies).await?;
        }
    }
    Ok(())
}

/// The reader hands what it reads to a thread, which hands what it makes of it to the writer.
async fn on_thread(
    send: SendStream,
    mut receive: RecvStream,
    mut work: impl FnMut(Bytes) -> Result<Option<Bytes>> + Send + 'static,
) -> Result<()> {
    let (chunks, given) = std::sync::mpsc::channel::<Bytes>();
    let (replies, made) = mpsc::unbounded_channel();
    thread::spawn(move || {
        while let Ok(chunk) = given.recv() {
            match work(chunk) {
                Ok(Some(reply)) => {
                    let _ = replies.send(reply);
                }
                Ok(None) => {}
                Err(error) => eprintln!("raw-quic: {error}"),
            }
        }
    });
    tokio::spawn(write(send, made));
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        chunks.send(chunk.bytes)?;
    }
    Ok(())
}

async fn write(mut send: SendStream, mut waiting: mpsc::UnboundedReceiver<Bytes>) {
    let mut batch = Vec::with_capacity(64);
    while waiting.recv_many(&mut batch, 64).await > 0 {
        if send.write_all_chunks(&mut batch[..]).await.is_err() {
            return;
        }
        batch.clear();
    }
}

// ---- this process

/// What one mode's stream has in this process.
struct Stream {
    out: mpsc::UnboundedSender<Bytes>,
    shared: Arc<Shared>,
}

struct Shared {
    caller: Thread,
    /// What is still to come: bytes of an echo, replies of a burst.
    missing: AtomicUsize,
    results: Vec<AtomicI64>,
}

impl Shared {
    fn came(&self, count: usize) {
        if count > 0 && self.missing.fetch_sub(count, Ordering::AcqRel) == count {
            self.caller.unpark();
        }
    }

    fn wait(&self) {
        while self.missing.load(Ordering::Acquire) > 0 {
            thread::park();
        }
    }
}

enum Order {
    Open(Mode, usize, Thread, std::sync::mpsc::Sender<Stream>),
    Bare(usize, std::sync::mpsc::Sender<Trips>),
}

/// The other process, connected; its I/O has a thread of its own in this process.
pub(crate) struct Peer {
    orders: mpsc::UnboundedSender<Order>,
    child: Child,
}

impl Peer {
    pub(crate) fn start() -> Result<Peer> {
        let mut command = this_program()?;
        command.args(["--internal-part", "raw-quic"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        let (port, hex) = line.trim().split_once(' ').ok_or("the raw peer did not start")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
        let bytes =
            hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or(""), 16));
        let certificate = CertificateDer::from(bytes.collect::<std::result::Result<Vec<u8>, _>>()?);
        let (orders, ordered) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            if let Err(error) = runtime.block_on(client(address, certificate, ordered)) {
                eprintln!("raw-quic client: {error}");
            }
        });
        Ok(Peer { orders, child })
    }

    /// Round trips of 64 bytes on the I/O thread itself.
    pub(crate) fn bare(&self, count: usize) -> Result<Trips> {
        let (done, is_done) = std::sync::mpsc::channel();
        self.orders.send(Order::Bare(count, done)).map_err(|_| "the connection is lost")?;
        Ok(is_done.recv()?)
    }

    fn open(&self, mode: Mode, most: usize) -> Result<Stream> {
        let (opened, is_opened) = std::sync::mpsc::channel();
        self.orders.send(Order::Open(mode, most, thread::current(), opened)).map_err(|_| "the connection is lost")?;
        Ok(is_opened.recv()?)
    }

    /// Round trips of 64 bytes from the calling thread, with a hand-off to another thread at both ends.
    pub(crate) fn hand_off(&self) -> Result<HandOff> {
        Ok(HandOff(self.open(Mode::HandOff, 0)?))
    }

    /// Tasks from the calling thread, up to `most` in flight.
    pub(crate) fn tasks(&self, mode: Mode, most: usize) -> Result<Tasks> {
        Ok(Tasks(self.open(mode, most)?))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// See [`Peer::hand_off`].
pub(crate) struct HandOff(Stream);

impl HandOff {
    pub(crate) fn trips(&self, count: usize) -> Result<Trips> {
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            self.0.shared.missing.store(HELLO, Ordering::Relaxed);
            self.0.out.send(Bytes::from_static(&[7; HELLO])).map_err(|_| "the connection is lost")?;
            self.0.shared.wait();
            took.push(begun.elapsed());
        }
        Ok(Trips::of(took))
    }
}

/// See [`Peer::tasks`].
pub(crate) struct Tasks(Stream);

impl Tasks {
    pub(crate) fn burst(&self, count: i64) -> Result<()> {
        let shared = &*self.0.shared;
        shared.missing.store(count as usize, Ordering::Relaxed);
        let mut out = BytesMut::new();
        for x in 0..count {
            put_frame(&mut out, &Task { seq: x as u64, function: 0, x })?;
            if x % BATCH == BATCH - 1 || x == count - 1 {
                self.0.out.send(out.split().freeze()).map_err(|_| "the connection is lost")?;
                out.reserve(16 << 10);
            }
        }
        shared.wait();
        let answers = shared.results[..count as usize].iter().map(|result| result.swap(-1, Ordering::Relaxed));
        check(answers.eq(0..count), "an echo")
    }
}

async fn client(
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> Result<()> {
    let mut roots = quinn::rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let mut config = quinn::ClientConfig::with_root_certificates(Arc::new(roots))?;
    config.transport_config(transport());
    let endpoint = endpoint(None)?;
    let connection = endpoint.connect_with(config, address, "raw")?.await?;
    while let Some(order) = orders.recv().await {
        let (mode, most, caller, opened) = match order {
            Order::Open(mode, most, caller, opened) => (mode, most, caller, opened),
            Order::Bare(count, done) => {
                let _ = done.send(bare_trips(&connection, count).await?);
                continue;
            }
        };
        let (mut send, receive) = connection.open_bi().await?;
        send.write_all(&[mode as u8]).await?;
        let results = (0..most).map(|_| AtomicI64::new(-1)).collect();
        let shared = Arc::new(Shared { caller, missing: AtomicUsize::new(0), results });
        let (out, waiting) = mpsc::unbounded_channel();
        tokio::spawn(write(send, waiting));
        tokio::spawn(read(mode, receive, Arc::clone(&shared)));
        let _ = opened.send(Stream { out, shared });
    }
    Ok(())
}

async fn bare_trips(connection: &quinn::Connection, count: usize) -> Result<Trips> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&[Mode::Bare as u8]).await?;
    let mut took = Vec::with_capacity(count);
    let mut buffer = [0u8; HELLO];
    for _ in 0..count {
        let begun = Instant::now();
        send.write_chunk(Bytes::from_static(&[7; HELLO])).await?;
        receive.read_exact(&mut buffer).await?;
        took.push(begun.elapsed());
    }
    Ok(Trips::of(took))
}

async fn read(mode: Mode, mut receive: RecvStream, shared: Arc<Shared>) {
    let mut frames = Frames::default();
    while let Ok(Some(chunk)) = receive.read_chunk(usize::MAX, true).await {
        if mode == Mode::HandOff {
            shared.came(chunk.bytes.len());
            continue;
        }
        let mut count = 0;
        let read = frames.read(&chunk.bytes, |reply: Reply| {
            if let Some(result) = shared.results.get(reply.seq as usize) {
                result.store(reply.value, Ordering::Relaxed);
                count += 1;
            }
        });
        if let Err(error) = read {
            eprintln!("raw-quic client: {error}");
        }
        shared.came(count);
    }
}
