//! A villain: it has a certificate of the cluster, and speaks QUIC by hand.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::*;
use quinn::rustls;

use crate::support::*;

/// An endpoint under attack, a friend of it, and the means of the villain (node 9, with a true certificate).
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) victim: Endpoint,
    pub(crate) sink: Arc<Sink>,
    pub(crate) friend: Peer,
    _friend: Endpoint,
    pub(crate) villain: quinn::Endpoint,
    pub(crate) tls: rustls::ClientConfig,
    pub(crate) id: ProcessId,
}

#[derive(Debug)]
pub(crate) struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}

/// The fields of an identity, as it is serialized: id, chain, key, expiry.
type Parts = (ProcessId, [Vec<u8>; 3], Vec<u8>, u64);

pub(crate) fn tls(identity: Option<&Identity>) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (_, chain, key, _): Parts = postcard::from_bytes(&postcard::to_allocvec(identity).unwrap()).unwrap();
            let chain = chain[..2].iter().map(|der| der.clone().into()).collect();
            let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key);
            builder.with_client_auth_cert(chain, key.into()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"actinic/1".to_vec()];
    config
}

/// Keeps its connections alive.
pub(crate) fn client(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    let mut alive = quinn::TransportConfig::default();
    alive.keep_alive_interval(Some(Duration::from_secs(1)));
    config.transport_config(Arc::new(alive));
    config
}

/// Joins, without a certificate.
pub(crate) fn joining() -> rustls::ClientConfig {
    let mut config = tls(None);
    config.alpn_protocols = vec![b"actinic-join/1".to_vec()];
    config
}

/// Whom the victim would let in by a token that nobody has.
pub(crate) fn serve_joins(scene: &Scene) {
    scene.victim.serve_joins(JoinServer {
        tokens: vec![Token::generate(&scene.cluster.authority).unwrap()],
        authority: Some(scene.cluster.authority.clone()),
        node: scene.cluster.authority.node(scene.victim.id().node).unwrap(),
        revision: REVISION,
        draw: Arc::new(|| uuid::Uuid::from_u128(1)),
    });
}

/// Serves joiners with that identity.
pub(crate) fn join_server(identity: &Identity) -> quinn::ServerConfig {
    server(identity, b"actinic-join/1")
}

/// Serves that protocol with that identity.
pub(crate) fn server(identity: &Identity, protocol: &[u8]) -> quinn::ServerConfig {
    let (_, chain, key, _): Parts = postcard::from_bytes(&postcard::to_allocvec(identity).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.into_iter().map(Into::into).collect(),
            rustls::pki_types::PrivatePkcs8KeyDer::from(key).into(),
        )
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
    quinn::ServerConfig::with_crypto(Arc::new(crypto))
}

/// On the simulated network.
pub(crate) async fn scene() -> Scene {
    scene_with(|_| ()).await
}

/// On the simulated network, with limits of its own.
pub(crate) async fn scene_with(change: impl FnOnce(&mut Limits)) -> Scene {
    let mut cluster = Cluster::new(1);
    change(&mut cluster.limits);
    let socket = cluster.net.bind(addr(9)).unwrap();
    let runtime = Arc::new(quinn::TokioRuntime);
    let villain = quinn::Endpoint::new_with_abstract_socket(Default::default(), None, socket, runtime).unwrap();
    let there = |cluster: &Cluster, n| cluster.config(n, 1);
    set(cluster, there, villain).await
}

/// On the operating system's network, whose sockets anybody may send to.
pub(crate) async fn real_scene() -> Scene {
    let villain = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let local =
        |cluster: &Cluster, n| Config { net: Net::Udp, listen: "127.0.0.1:0".parse().unwrap(), ..cluster.config(n, 1) };
    set(Cluster::new(1), local, villain).await
}

async fn set(cluster: Cluster, config: impl Fn(&Cluster, u8) -> Config, villain: quinn::Endpoint) -> Scene {
    let (victim, sink) = start(config(&cluster, 1));
    let (friend, _) = start(config(&cluster, 2));
    let peer = friend.peer(&PeerAddr::new(victim.id(), victim.local_addr()));
    assert_eq!(peer.ask::<_, u64>(ECHO, &1u64, Duration::from_secs(10)).await, Ok(1));
    let config = cluster.config(9, 1);
    Scene {
        victim,
        sink,
        friend: peer,
        _friend: friend,
        villain,
        tls: tls(Some(&config.identity)),
        id: config.id,
        cluster,
    }
}

impl Scene {
    pub(crate) async fn connect(&self, tls: rustls::ClientConfig) -> Result<quinn::Connection, quinn::ConnectionError> {
        self.begin(tls).await
    }

    /// A handshake that goes on when it is waited for.
    pub(crate) fn begin(&self, tls: rustls::ClientConfig) -> quinn::Connecting {
        self.villain.connect_with(client(tls), self.victim.local_addr(), "actinic").unwrap()
    }

    /// A connection whose greeting was accepted; the greeting's reply is read.
    pub(crate) async fn greeted(&self) -> quinn::Connection {
        self.greeted_again(1).await
    }

    /// As [`greeted`](Self::greeted), the villain's so many-th of the session.
    pub(crate) async fn greeted_again(&self, number: u64) -> quinn::Connection {
        let connection = self.connect(self.tls.clone()).await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&greeting(&self.hello_of(1, number))).await.unwrap();
        receive.read_exact(&mut [0; 12]).await.unwrap();
        connection
    }

    /// The fields of `wire::Hello`.
    pub(crate) fn hello(&self, from: ProcessId) -> Vec<u8> {
        let none: Vec<std::net::SocketAddr> = Vec::new();
        postcard::to_allocvec(&(from, Some(self.victim.id()), 1u64, [0u64; 2], 1u64, 0u64, none)).unwrap()
    }

    /// Of a session and a connection with these numbers.
    pub(crate) fn hello_of(&self, session: u64, connection: u64) -> Vec<u8> {
        let none: Vec<std::net::SocketAddr> = Vec::new();
        let to = Some(self.victim.id());
        postcard::to_allocvec(&(self.id, to, session, [0u64; 2], connection, 0u64, none)).unwrap()
    }

    /// The friend is served as before.
    pub(crate) async fn unharmed(&self) {
        let echoed: Result<u64, _> = self.friend.ask(ECHO, &2u64, Duration::from_secs(10)).await;
        assert_eq!(echoed, Ok(2));
    }

    /// Sends these bytes on the ordered lane, and returns why the victim closed.
    pub(crate) async fn closes_on(&self, bytes: &[u8], finish: bool) -> String {
        let connection = self.greeted().await;
        let mut lane = connection.open_uni().await.unwrap();
        lane.write_all(bytes).await.unwrap();
        if finish {
            lane.finish().unwrap();
        }
        let closed = tokio::time::timeout(Duration::from_secs(10), connection.closed()).await.unwrap();
        self.unharmed().await;
        closed.to_string()
    }
}

pub(crate) fn greeting(body: &[u8]) -> Vec<u8> {
    [b"ACTN", &REVISION.to_le_bytes()[..], &(body.len() as u32).to_le_bytes(), body].concat()
}

pub(crate) fn frame(number: u64, acknowledges: u64, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &number.to_le_bytes(), &acknowledges.to_le_bytes(), body].concat()
}

pub(crate) fn message(kind: u8, id: u64, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 9).to_le_bytes()[..], &[kind], &id.to_le_bytes(), body].concat()
}
