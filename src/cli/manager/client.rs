//! Talks to a manager: HTTP over its admin socket, or HTTPS with an API key.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::args::Reach;
use crate::cli::failure::Failure;
use crate::cli::text::printable;
use crate::manager::serve::{MANAGER_SOCKET, ManagerLoader};
use crate::shell::config::Inputs;

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// The same where the manager goes through its whole database.
const SLOW_ANSWER_TIME_MAX: Duration = Duration::from_secs(3_600);
/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Where the packaged service keeps its state.
const SERVICE_STATE: &str = "/var/lib/callgate-manager";

/// The way to a manager.
enum Way {
    Socket(PathBuf),
    Https { host: String, port: u16, tls: Arc<ClientConfig>, key: Zeroizing<String> },
}

/// A manager that can be asked.
pub(super) struct ManagerClient {
    way: Way,
    runtime: tokio::runtime::Runtime,
}

fn refused(text: impl Into<String>) -> Failure {
    Failure::Refused(text.into())
}

/// The first line of a file that holds a secret; `-` is standard input.
pub(super) fn secret_line(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(64 * 1024).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(64 * 1024).read_to_string(&mut text))
    };
    read.map_err(|error| refused(format!("{} can't be read: {error}", path.display())))?;
    let line = text.lines().next().map(str::trim).filter(|line| !line.is_empty());
    line.map(|line| Zeroizing::new(line.to_owned()))
        .ok_or_else(|| refused(format!("the first line of {} is empty", path.display())))
}

impl ManagerClient {
    /// Finds the manager.
    ///
    /// # Errors
    /// If none runs (exit code 69), or it may not be talked to.
    pub(super) fn connect(reach: &Reach, inputs: &Inputs) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| refused(format!("the operating system gives no event loop: {error}")))?;
        if let Some(url) = &reach.url {
            return Ok(Self { way: https(url, reach)?, runtime });
        }
        let mut tried = String::new();
        for socket in candidates(reach, inputs)? {
            match runtime.block_on(UnixStream::connect(&socket)) {
                Ok(_) => return Ok(Self { way: Way::Socket(socket), runtime }),
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    return Err(refused(format!(
                        "may not talk to {}: permission denied. Be the user that runs the manager, or root; or use --url with --api-key-file.",
                        socket.display()
                    )));
                }
                Err(error) => tried.push_str(&format!("\n    {} ({error})", socket.display())),
            }
        }
        Err(Failure::NotRunning(format!(
            "no license manager runs here. Looked for its admin socket at{tried}\nStart one with `callgate manager serve`, or say where it is: --admin SOCKET, --config FILE, or --url URL with --api-key-file FILE."
        )))
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None)
    }

    pub(super) fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.ask(Method::POST, path, body)
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PATCH, path, Some(body))
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, None)
    }

    /// All pages of a list.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        self.pages(path, |items| {
            all.extend(items);
            Ok(())
        })?;
        Ok(all)
    }

    /// Each page of a list, as it comes.
    pub(super) fn pages(
        &self,
        path: &str,
        mut each: impl FnMut(Vec<Value>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut cursor: Option<String> = None;
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let mut target = format!("{path}{join}limit=1000");
            if let Some(cursor) = &cursor {
                target.push_str(&format!("&cursor={}", encoded(cursor)));
            }
            let mut page = self.get(&target)?;
            let items = page.get_mut("items").map(Value::take);
            let Some(Value::Array(items)) = items else {
                return Err(refused(format!("the manager's answer to {path} is no list")));
            };
            each(items)?;
            let next = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if next.is_none() || next == cursor {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let slow = matches!(path, "/v1/backups" | "/v1/audit/verify");
        let time_max = if slow { SLOW_ANSWER_TIME_MAX } else { ANSWER_TIME_MAX };
        let answer = async {
            tokio::time::timeout(time_max, self.way.exchange(method, path, body))
                .await
                .map_err(|_| format!("no answer within {} s", time_max.as_secs()))?
        };
        let (status, bytes) = self
            .runtime
            .block_on(answer)
            .map_err(|why| refused(format!("the manager did not answer {}: {why}", shown(path))))?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let parsed = serde_json::from_slice::<Value>(&bytes);
        if status.is_success() {
            return parsed
                .map_err(|error| refused(format!("the manager's answer to {} is not JSON: {error}", shown(path))));
        }
        let problem = parsed.unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(printable);
        Err(refused(match (text("title"), text("detail")) {
            (Some(title), Some(detail)) => format!("{title}: {detail}"),
            (Some(title), None) => title,
            (None, _) => format!("the manager answered {} with {status}", shown(path)),
        }))
    }
}

/// A path without its query, which may be long.
fn shown(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

/// A text as part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    // Blanks become `+` in forms, which a path takes literally.
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

fn candidates(reach: &Reach, inputs: &Inputs) -> Result<Vec<PathBuf>, Failure> {
    if let Some(socket) = &reach.admin {
        return Ok(vec![socket.clone()]);
    }
    let loader =
        ManagerLoader { file: reach.config.clone(), data_dir: reach.data_dir.clone(), ..ManagerLoader::default() };
    let socket = loader.load(inputs)?.admin_socket();
    if reach.config.is_some() || reach.data_dir.is_some() {
        return Ok(vec![socket]);
    }
    Ok(vec![socket, Path::new(SERVICE_STATE).join(MANAGER_SOCKET)])
}

fn https(url: &str, reach: &Reach) -> Result<Way, Failure> {
    let wrong = || refused("--url: accepted is https://HOST:PORT, without user and path");
    let parsed = url::Url::parse(url).map_err(|_| wrong())?;
    let plain = parsed.scheme() == "https" && parsed.path() == "/" && parsed.username().is_empty();
    let host = parsed.host_str().filter(|_| plain && parsed.password().is_none() && parsed.query().is_none());
    let host = host.ok_or_else(wrong)?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let key = reach.api_key_file.as_ref().ok_or_else(|| refused("--url needs --api-key-file"))?;
    let mut roots = RootCertStore::empty();
    match &reach.ca {
        Some(path) => {
            let unreadable = |why: String| refused(format!("--ca: {} can't be used: {why}", path.display()));
            let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&bytes) {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(refused("no certificate authority to trust was found: name the manager's with --ca FILE"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let port = parsed.port().unwrap_or(443);
    Ok(Way::Https { host, port, tls: Arc::new(tls), key: secret_line(key)? })
}

impl Way {
    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), String> {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default()));
        match self {
            Self::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
                let request = request.header("host", "callgate").body(body).map_err(|error| error.to_string())?;
                over(stream, request).await
            }
            Self::Https { host, port, tls, key } => {
                let stream = TcpStream::connect((host.as_str(), *port))
                    .await
                    .map_err(|error| format!("{host}:{port}: {error}"))?;
                let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
                let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(|error| {
                    format!("TLS with {host}:{port}: {error}; --ca FILE names the authority to trust")
                })?;
                let request = request
                    .header(
                        "host",
                        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") },
                    )
                    .header("authorization", format!("Bearer {}", key.as_str()))
                    .body(body)
                    .map_err(|_| "the API key can't be sent: it has characters that no key has".to_owned())?;
                over(stream, request).await
            }
        }
    }
}

async fn over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let collected = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let bytes = collected.map_err(|error| error.to_string())?.to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, bytes))
}
