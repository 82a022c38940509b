//! The way to etcd: endpoints, TLS, user; and requests as the core words them.
//!
//! Files are read anew for each connection, so that certificates and passwords are renewed without a restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, GetOptions, Identity, KeyValue, PutOptions, TlsOptions,
    Txn, TxnOp, TxnOpResponse,
};

use crate::cluster::chunks::{Answer, Entry, Op, Txn as Words};
use crate::shell::config::{Etcd, read_password};
use crate::shell::store::StoreError;

/// No file of certificates is longer.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Why etcd could not be asked, or nothing could be started to ask it.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// etcd refused, or wasn't reached.
    #[error("etcd at {endpoints}: {what}")]
    Failed {
        /// Which.
        endpoints: String,
        /// What it said.
        what: String,
    },
    /// A file of the configuration isn't what it should be.
    #[error("{key} ({}): {found}", path.display())]
    Setting {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The file with this state directory's number isn't one.
    #[error(
        "{} holds no number of a state directory: put it back from a backup, or remove it and forget this node \
         (`callgate cluster forget`) at another one", path.display()
    )]
    Ledger {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A directory cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

fn failed(etcd: &Etcd, what: impl std::fmt::Display) -> EtcdError {
    EtcdError::Failed { endpoints: etcd.endpoints.clone(), what: what.to_string() }
}

/// Asks, over the connection at hand or a new one. Gives the connection back if it is still good.
///
/// # Errors
/// If nobody knows whether it was carried out.
pub async fn ask(etcd: &Etcd, client: Option<Client>, op: Op) -> Result<(Client, Answer), EtcdError> {
    let timeout = Duration::from_millis(u64::from(etcd.timeout_ms));
    let asked = async {
        let mut client = match client {
            Some(client) => client,
            None => connect(etcd).await?,
        };
        let answer = request(&mut client, op).await.map_err(|error| failed(etcd, error))?;
        Ok((client, answer))
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(done) => done,
        Err(_) => Err(failed(etcd, format!("no answer within {} ms", etcd.timeout_ms))),
    }
}

async fn connect(etcd: &Etcd) -> Result<Client, EtcdError> {
    let of = etcd.clone();
    let read = tokio::task::spawn_blocking(move || options(&of)).await;
    let options = read.map_err(|error| failed(etcd, format!("its files could not be read ({error})")))??;
    let endpoints: Vec<&str> = etcd.endpoints().collect();
    Client::connect(endpoints, Some(options)).await.map_err(|error| failed(etcd, error))
}

/// Reads the files. Waits for the disk.
fn options(etcd: &Etcd) -> Result<ConnectOptions, EtcdError> {
    let timeout = Duration::from_millis(u64::from(etcd.timeout_ms));
    let mut options = ConnectOptions::new().with_connect_timeout(timeout).with_require_leader(true);
    if let (Some(user), Some(path)) = (&etcd.user, &etcd.password_file) {
        let key = "cluster.etcd.password_file";
        let setting = |found| EtcdError::Setting { key, path: path.clone(), found };
        let (password, open) = read_password(path).map_err(|bad| setting(bad.found))?;
        if open {
            tracing::warn!("{key} ({}) can be read by others than its owner", path.display());
        }
        let password = String::from_utf8(password.reveal().to_vec());
        options = options.with_user(user, password.map_err(|_| setting("a password that is not UTF-8".to_owned()))?);
    }
    if let Some(ca) = &etcd.ca_file
        && etcd.endpoints().all(|endpoint| endpoint.starts_with("https://"))
    {
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(pem("cluster.etcd.ca_file", ca)?));
        if let (Some(certificate), Some(key)) = (&etcd.certificate_file, &etcd.key_file) {
            let certificate = pem("cluster.etcd.certificate_file", certificate)?;
            tls = tls.identity(Identity::from_pem(certificate, pem("cluster.etcd.key_file", key)?));
        }
        options = options.with_tls(tls);
    }
    Ok(options)
}

fn pem(key: &'static str, path: &Path) -> Result<Vec<u8>, EtcdError> {
    let setting = |found| EtcdError::Setting { key, path: path.to_owned(), found };
    let bytes = std::fs::read(path).map_err(|error| setting(error.to_string()))?;
    if bytes.len() > FILE_BYTES_MAX || !bytes.windows(11).any(|part| part == b"-----BEGIN ") {
        return Err(setting("nothing in PEM".to_owned()));
    }
    Ok(bytes)
}

async fn request(client: &mut Client, op: Op) -> Result<Answer, etcd_client::Error> {
    match op {
        Op::Grant { ttl_s } => {
            let granted = client.lease_grant(i64::from(ttl_s), None).await?;
            // A term that is no number is none: it is asked for again.
            Ok(Answer::Granted { lease: granted.id(), ttl_s: u32::try_from(granted.ttl()).unwrap_or(0) })
        }
        Op::Txn(words) => {
            let done = client.txn(transaction(&words)).await?;
            let entries = done.op_responses().into_iter().flat_map(|response| match response {
                TxnOpResponse::Get(got) => entries(got.kvs()),
                TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => Vec::new(),
            });
            let entries = entries.collect();
            let revision = done.header().map_or(0, etcd_client::ResponseHeader::revision);
            Ok(Answer::Txn { won: done.succeeded(), revision, entries })
        }
        Op::List { prefix, after, most } => {
            let mut end = prefix.clone().into_bytes();
            if let Some(last) = end.last_mut() {
                *last += 1;
            }
            // Behind a key comes what begins with it.
            let from = if after.is_empty() { prefix } else { format!("{after}\0") };
            let options = GetOptions::new().with_range(end).with_limit(i64::from(most));
            let got = client.get(from, Some(options)).await?;
            let revision = got.header().map_or(0, etcd_client::ResponseHeader::revision);
            Ok(Answer::Listed { revision, entries: entries(got.kvs()) })
        }
    }
}

fn transaction(words: &Words) -> Txn {
    let compare: Vec<Compare> = words
        .compare
        .iter()
        .map(|(key, revision)| Compare::mod_revision(key.as_str(), CompareOp::Equal, *revision))
        .collect();
    let read = |key: &String| TxnOp::get(key.as_str(), None);
    let put = words.put.iter().map(|put| {
        let options = put.lease.map(|lease| PutOptions::new().with_lease(lease));
        TxnOp::put(put.key.as_str(), put.value.as_str(), options)
    });
    let delete = words.delete.iter().map(|key| TxnOp::delete(key.as_str(), None));
    let then: Vec<TxnOp> = put.chain(delete).chain(words.read.iter().map(read)).collect();
    let otherwise: Vec<TxnOp> =
        words.read.iter().map(read).chain(words.compare.iter().map(|(key, _)| read(key))).collect();
    Txn::new().when(compare).and_then(then).or_else(otherwise)
}

fn entries(found: &[KeyValue]) -> Vec<Entry> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entry = |of: &KeyValue| Entry { key: text(of.key()), value: text(of.value()), revision: of.mod_revision() };
    found.iter().map(entry).collect()
}
