//! A license manager that misbehaves, a proxy, and the certificates for both. For tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyUsagePurpose, PublicKeyData, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::protocol::{PublicKey, SecretKey};

/// Lets rcgen sign with our keys.
pub(crate) struct Key(pub(crate) SecretKey, PublicKey);

impl Key {
    pub(crate) fn new(number: u8) -> Self {
        let key = SecretKey::from_seed([number; 32]);
        let public = key.public();
        Self(key, public)
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.1.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_vec())
    }
}

/// A certificate authority.
pub(crate) struct Authority {
    params: CertificateParams,
    key: Key,
    pub(crate) der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str, number: u8) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(SerialNumber::from(vec![number]));
        let key = Key::new(number);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, der }
    }

    /// A certificate for these names, and its key.
    pub(crate) fn issue(&self, names: &[&str], number: u8) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.serial_number = Some(SerialNumber::from(vec![number]));
        let key = Key::new(number);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().clone();
        (der, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.0.pkcs8_der().to_vec())))
    }

    /// Its certificate as a PEM file.
    pub(crate) fn file(&self, dir: &Path) -> PathBuf {
        use base64::Engine;
        let path = dir.join("ca.pem");
        let text = base64::engine::general_purpose::STANDARD.encode(&self.der);
        std::fs::write(&path, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).unwrap();
        path
    }
}

/// What a server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// A body without end.
    Endless,
    /// Nothing.
    Nothing,
}

pub(crate) fn http(status: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Bytes(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes())
}

/// A server that answers each request the same way.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// What was received last.
    pub(crate) heard: Arc<parking_lot::Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// TLS with the certificate of `names`; with `clients`, only for those with a certificate of that authority.
pub(crate) fn tls(authority: &Authority, names: &[&str], clients: Option<&Authority>) -> TlsAcceptor {
    let (certificate, key) = authority.issue(names, 77);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(clients.der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate, authority.der.clone()], key).unwrap()))
}

impl Server {
    pub(crate) async fn start(acceptor: Option<TlsAcceptor>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let theirs = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, heard) = (acceptor.clone(), answer.clone(), Arc::clone(&theirs));
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, answer, heard).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, answer, heard).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, heard, task }
    }

    /// A proxy that opens tunnels to `target`, whatever it is asked for; with `password`, only for who gives it (Basic).
    pub(crate) async fn proxy(acceptor: Option<TlsAcceptor>, target: u16, password: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let theirs = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, heard) = (acceptor.clone(), Arc::clone(&theirs));
                tokio::spawn(async move {
                    match acceptor {
                        None => tunnel(stream, target, password, heard).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                tunnel(stream, target, password, heard).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, heard, task }
    }
}

/// The head of a request, and its body as far as its length is told.
async fn request(stream: &mut (impl AsyncRead + Unpin), heard: &parking_lot::Mutex<Vec<u8>>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lengths = head.lines().filter_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
            });
            if body.len() >= lengths.max().unwrap_or(0) {
                break;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
            Ok(0) | Err(_) => break,
        }
    }
    *heard.lock() = bytes;
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Answer,
    heard: Arc<parking_lot::Mutex<Vec<u8>>>,
) {
    request(&mut stream, &heard).await;
    match answer {
        Answer::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Answer::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        }
        Answer::Nothing => {
            let _ = stream.read(&mut [0; 1]).await;
        }
    }
}

async fn tunnel(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: u16,
    password: Option<&str>,
    heard: Arc<parking_lot::Mutex<Vec<u8>>>,
) {
    request(&mut stream, &heard).await;
    let head = String::from_utf8_lossy(&heard.lock()).into_owned();
    if password.is_some_and(|password| {
        !head.to_lowercase().contains(&format!("proxy-authorization: basic {password}\r\n").to_lowercase())
    }) {
        let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await;
        return;
    }
    let Ok(mut onward) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], target))).await else {
        let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
        return;
    };
    let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
}
