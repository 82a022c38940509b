//! Talks to a running sidecar: HTTP over its admin socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::args::AdminArgs;
use super::failure::Failure;
use crate::shell::config::{ADMIN_SOCKET, Inputs, Loader, Problems, StateDirectory};

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Where the packaged service keeps its state.
const SERVICE_STATE: &str = "/var/lib/callgate";

/// Where to look for a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    pub(super) sockets: Vec<PathBuf>,
    /// What is wrong with the configuration that should have named the socket.
    pub(super) problems: Option<Problems>,
    /// These are guesses: what is wrong may hide the name. Good enough to look, not to change anything.
    pub(super) guessed: bool,
}

impl Candidates {
    /// The named socket, or the one of the named configuration, or those of the default state directories.
    ///
    /// A configuration with errors leads to its sidecar all the same: just then an operator needs to look.
    ///
    /// # Errors
    /// If the named configuration can't be read at all.
    pub fn find(args: &AdminArgs, inputs: Inputs) -> Result<Self, Failure> {
        if let Some(socket) = &args.admin {
            return Ok(Self::certain(socket.clone()));
        }
        let named = args.config.is_some() || inputs.environment.contains_key("CALLGATE_NODE__DATA_DIR");
        let loader = Loader { file: args.config.clone(), inputs, flags: Vec::new() };
        let problems = match named.then(|| loader.state_directory()).transpose()? {
            Some(StateDirectory::Named(directory)) => return Ok(Self::certain(directory.join(ADMIN_SOCKET))),
            Some(StateDirectory::Despite(directory, problems)) => {
                return Ok(Self { problems: Some(problems), ..Self::certain(directory.join(ADMIN_SOCKET)) });
            }
            Some(StateDirectory::Hidden(problems)) => Some(problems),
            None => None,
        };
        let mut sockets: Vec<PathBuf> =
            loader.inputs.state_directory().into_iter().chain([PathBuf::from(SERVICE_STATE)]).collect();
        sockets.dedup();
        let sockets = sockets.into_iter().map(|directory| directory.join(ADMIN_SOCKET)).collect();
        Ok(Self { sockets, guessed: problems.is_some(), problems })
    }

    fn certain(socket: PathBuf) -> Self {
        Self { sockets: vec![socket], problems: None, guessed: false }
    }

    /// What the operator should know before the answer: that the configuration has errors, and what shows them.
    pub(super) fn warning(&self) -> Option<String> {
        let Problems(problems) = self.problems.as_ref()?;
        let errors = if problems.len() == 1 { "an error".to_owned() } else { format!("{} errors", problems.len()) };
        let guessed = if self.guessed {
            ", and names no state directory that can be read: looking in the default ones"
        } else {
            ""
        };
        Some(format!(
            "the configuration has {errors}{guessed}. `callgate config check`, with the same --config, shows what is wrong."
        ))
    }
}

/// A connection's worth of a running sidecar.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    guessed: bool,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// The first candidate that answers.
    ///
    /// # Errors
    /// If none runs (exit code 69), or if one may not be talked to.
    pub fn connect(candidates: &Candidates) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Refused(format!("the operating system gives no event loop: {error}")))?;
        let mut tried = String::new();
        for socket in &candidates.sockets {
            match runtime.block_on(UnixStream::connect(socket)) {
                Ok(_) => return Ok(Self { socket: socket.clone(), guessed: candidates.guessed, runtime }),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(Failure::Refused(format!(
                        "may not talk to {}: permission denied. The socket belongs to the user that runs the sidecar: be that user, or root.",
                        socket.display()
                    )));
                }
                Err(error) => tried.push_str(&format!("\n    {} ({})", socket.display(), why_not(&error))),
            }
        }
        Err(Failure::NotRunning(format!(
            "no sidecar runs here. Looked for its admin socket at{tried}\nStart one with `callgate serve`, or say where it is: --admin SOCKET, or --config FILE."
        )))
    }

    /// `GET`, as JSON.
    ///
    /// # Errors
    /// If the sidecar refuses, or goes away.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None)
    }

    /// `POST` of a JSON body, as JSON.
    ///
    /// # Errors
    /// If the sidecar refuses, or goes away, or if it is not certain that it is the one that was meant.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        if self.guessed {
            return Err(Failure::Refused(format!(
                "a sidecar answers at {}, but the errors in the configuration hide whether it is the one you mean, and this \
                 command changes things: say so with --admin {}, or mend the configuration (`callgate config check`).",
                self.socket.display(),
                self.socket.display()
            )));
        }
        self.ask(Method::POST, path, Some(body))
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let answer = async {
            tokio::time::timeout(ANSWER_TIME_MAX, exchange(&self.socket, method, path, body))
                .await
                .map_err(|_| format!("no answer within {} s", ANSWER_TIME_MAX.as_secs()))?
        };
        let (status, body) = self.runtime.block_on(answer).map_err(|why| {
            Failure::Refused(format!("the sidecar at {} did not answer {path}: {why}", self.socket.display()))
        })?;
        let parsed = serde_json::from_slice::<Value>(&body);
        if status.is_success() {
            return parsed
                .map_err(|error| Failure::Refused(format!("the sidecar's answer to {path} is not JSON: {error}")));
        }
        let problem = parsed.unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(super::text::printable);
        let reasons = problem.get("reasons").and_then(Value::as_array).map(|reasons| {
            let lines = reasons.iter().filter_map(Value::as_str).flat_map(str::lines);
            lines.map(|line| format!("\n    {}", super::text::printable(line))).collect::<String>()
        });
        Err(Failure::Refused(match (text("title"), text("detail"), reasons) {
            (Some(title), _, Some(reasons)) => format!("{title}:{reasons}"),
            (Some(title), Some(detail), None) => format!("{title}: {detail}"),
            (Some(title), None, None) => title,
            (None, ..) => format!("the sidecar answered {path} with {status}"),
        }))
    }
}

fn why_not(error: &io::Error) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        "no such file".to_owned()
    } else if kind == io::ErrorKind::ConnectionRefused {
        "nobody listens there; a sidecar that is gone left it".to_owned()
    } else {
        error.to_string()
    }
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), String> {
    let failed = |error: &dyn std::error::Error| error.to_string();
    let stream = UnixStream::connect(socket).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let mut request = Request::builder().method(method).uri(path).header("host", "callgate");
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| failed(&error))?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    let collected = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let bytes = collected.map_err(|error| error.to_string())?.to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, bytes))
}
