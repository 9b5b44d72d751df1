//! What is said in the log of whoever has proved nothing.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use quinn::rustls;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::support::*;
use crate::villain::*;

/// Keeps the lines of this crate, as a log would show them.
#[derive(Default, Clone)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("actinic_transport")
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Log {
    /// The lines with that in them.
    fn lines(&self, with: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(with)).cloned().collect()
    }
}

async fn knock(scene: &Scene, times: usize, knock: impl AsyncFn(&Scene)) {
    for _ in 0..times {
        knock(scene).await;
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_do_not_fill_the_log() {
    let scene = scene_with(|limits| limits.stall = ms(50)).await;
    serve_joins(&scene);
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let mut other = tls(None);
    other.alpn_protocols = vec![b"h3".to_vec()];
    knock(&scene, 1000, async |scene| drop(scene.connect(other.clone()).await)).await;
    let lines = log.lines("");
    assert!((1..=2).contains(&lines.len()), "{} lines: {:?}", lines.len(), lines.first());
    assert!(lines[0].contains("a handshake failed") && lines[0].contains("10.0.0.9"), "{lines:?}");
    // Each kind has its first line, whatever came of other kinds.
    let closed = async |connection: quinn::Connection| drop(connection.closed().await);
    knock(&scene, 20, async |scene| closed(scene.connect(tls(None)).await.unwrap()).await).await;
    for beginning in [&b"ACTJ"[..], &[0; 44]] {
        knock(&scene, 20, async |scene| {
            let connection = scene.connect(joining()).await.unwrap();
            let (mut send, _receive) = connection.open_bi().await.unwrap();
            send.write_all(beginning).await.unwrap();
            closed(connection).await;
        })
        .await;
    }
    for what in ["without a certificate", "stalled", "a join is refused"] {
        let lines = log.lines(what);
        assert!((1..=2).contains(&lines.len()), "{} lines of {what:?}: {lines:?}", lines.len());
    }
    // What was not said is counted.
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    let before = log.lines("a handshake failed").len();
    drop(scene.connect(other.clone()).await);
    let lines = log.lines("a handshake failed");
    assert_eq!(lines.len(), before + 1);
    let count: u64 = lines.iter().map(|line| line.split("times=").nth(1).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(count, 1001, "{lines:?}");
    scene.unharmed().await;
}

/// Refuses every server, with these words.
#[derive(Debug)]
struct Words(&'static str, AnyServer);

impl rustls::client::danger::ServerCertVerifier for Words {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Err(rustls::Error::General(self.0.to_owned()))
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.1.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.1.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.1.supported_verify_schemes()
    }
}

/// A reason is the peer's own text, and a log is read line by line, by programs too.
#[tokio::test(start_paused = true)]
async fn a_stranger_writes_no_line_of_his_own() {
    const FORGED: &str = "nothing\n2026-01-01T00:00:00Z  INFO actinic: all is well\u{1b}[2J\u{202e}";
    let scene = scene().await;
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let mut refusing = tls(None);
    let words: &'static str = format!("{FORGED}{}", "x".repeat(400)).leak();
    refusing.dangerous().set_certificate_verifier(Arc::new(Words(words, AnyServer)));
    scene.connect(refusing).await.unwrap_err();
    until("it is said", || !log.lines("").is_empty()).await;
    let lines = log.lines("");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("nothing?2026-01-01") && lines[0].contains("all is well?[2J?"), "{lines:?}");
    assert!(lines[0].chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{lines:?}");
    assert!(lines[0].len() < 350, "{} bytes: {lines:?}", lines[0].len());
}
