//! What the packets say: every question that the proxy asked and its answer, and every SIP message.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::packets::{self, Packet, Transport};
use super::rig::Via;
use crate::support::lane::Lane;
use crate::support::process::Process;
use crate::support::within;

/// A running capture of everything on the lane's loopback.
#[derive(Debug)]
pub(crate) struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

impl Capture {
    pub(crate) fn start(lane: &Lane) -> Self {
        let file = lane.path("capture.pcap");
        let mut command = lane.command("tcpdump");
        // Nanoseconds, unbuffered, and as the user who reads the file. The kernel's ring has slots of the snapshot's
        // length: short ones, and many.
        command
            .args([
                "-i",
                "lo",
                "-s",
                "4096",
                "-n",
                "-U",
                "--immediate-mode",
                "--nano",
                "-B",
                "32768",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file);
        let tcpdump = lane.start("tcpdump", &mut command);
        assert!(within(Duration::from_secs(5), || tcpdump.log().contains("listening on")), "{}", tcpdump.log());
        Self { tcpdump, file }
    }

    /// Ends the capture and reads it.
    pub(crate) fn finish(mut self) -> Recording {
        // What was just sent is still on its way through the capture's buffer.
        std::thread::sleep(Duration::from_millis(200));
        self.tcpdump.signal(Signal::INT);
        self.tcpdump.wait(Duration::from_secs(10));
        let log = self.tcpdump.log();
        assert!(log.lines().any(|line| line == "0 packets dropped by kernel"), "the capture is not whole: {log}");
        Recording { packets: packets::read(&self.file) }
    }
}

#[derive(Debug)]
pub(crate) struct Recording {
    packets: Vec<Packet>,
}

/// One question to the sidecar.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) asked: Duration,
    /// When the answer came, if one came.
    pub(crate) answered: Option<Duration>,
    /// `admit`, `confirm`, `release`, `proxy` or what else was asked.
    pub(crate) verb: String,
    pub(crate) id: String,
    pub(crate) seq: Option<u64>,
    pub(crate) admitted: Option<bool>,
    pub(crate) cause: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Sip {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) text: String,
}

impl Sip {
    pub(crate) fn is_request(&self, method: &str) -> bool {
        self.text.strip_prefix(method).is_some_and(|rest| rest.starts_with(' '))
    }

    /// A response with this status to a request of this method.
    pub(crate) fn is_response(&self, status: u16, method: &str) -> bool {
        self.text.starts_with(&format!("SIP/2.0 {status} ")) && self.header("CSeq").ends_with(method)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.text
            .lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)))
            .map_or("", |(_, value)| value.trim())
    }
}

impl Recording {
    /// Every SIP message, each as often as it was sent.
    pub(crate) fn sip(&self) -> Vec<Sip> {
        let sip = |packet: &Packet| {
            let text = String::from_utf8_lossy(&packet.payload).into_owned();
            (packet.transport == Transport::Udp && text.lines().next().is_some_and(|line| line.contains("SIP/2.0")))
                .then_some(Sip { from: packet.from, to: packet.to, text })
        };
        self.packets.iter().filter_map(sip).collect()
    }

    /// How many calls a caller saw answered with this status (each Call-ID and CSeq once).
    pub(crate) fn calls_answered(&self, status: u16, port: u16) -> usize {
        let mut calls: Vec<_> = self
            .sip()
            .iter()
            .filter(|sip| sip.to.port() == port && sip.is_response(status, "INVITE"))
            .map(|sip| (sip.header("Call-ID").to_owned(), sip.header("CSeq").to_owned()))
            .collect();
        calls.sort();
        calls.dedup();
        calls.len()
    }

    /// Every question that was asked, in the order of asking.
    pub(crate) fn questions(&self, via: Via) -> Vec<Question> {
        let mut all: Vec<Question> = packets::connections(&self.packets, via.port())
            .iter()
            .flat_map(|connection| {
                let [asked, heard] = &connection.flows;
                let asks = match via {
                    Via::Resp => resp_messages(&asked.bytes),
                    Via::Http => http_messages(&asked.bytes),
                };
                let answers = match via {
                    Via::Resp => resp_messages(&heard.bytes),
                    Via::Http => http_messages(&heard.bytes),
                };
                // Answers come in the order of the questions; the last ones may be missing.
                asks.into_iter()
                    .enumerate()
                    .map(|(place, ask)| {
                        let answer = answers.get(place);
                        let answered = answer.map(|answer| heard.time_of(answer.end - 1));
                        let words = answer.map_or(&[][..], |answer| &answer.words);
                        question(via, asked.time_of(ask.end - 1), &ask.words, answered, words)
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        all.sort_by_key(|question| question.asked);
        all
    }

    /// Questions of one verb.
    pub(crate) fn asked(&self, via: Via, verb: &str) -> Vec<Question> {
        self.questions(via).into_iter().filter(|question| question.verb == verb).collect()
    }
}

fn question(via: Via, asked: Duration, ask: &[String], answered: Option<Duration>, answer: &[String]) -> Question {
    let word = |place: usize| ask.get(place).cloned().unwrap_or_default();
    let (verb, id, seq, admitted, cause) = match via {
        Via::Resp => {
            let after_seq = ask.iter().position(|word| word == "SEQ").and_then(|at| ask.get(at + 1));
            let admitted = answer.first().map(|first| first == "1");
            (word(0).to_lowercase(), word(1), after_seq.cloned(), admitted, answer.get(1).cloned().unwrap_or_default())
        }
        Via::Http => {
            let path = word(1);
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            let field = |name: &str| {
                query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
            };
            let verb = path.rsplit('/').next().unwrap_or_default().to_owned();
            let admitted = answer.get(1).map(|status| status == "200");
            let body: serde_json::Value =
                answer.last().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
            let cause = body.get("cause").and_then(|cause| cause.as_str()).unwrap_or_default().to_owned();
            (verb, field("id").or(field("proxy")).unwrap_or_default(), field("seq"), admitted, cause)
        }
    };
    Question { asked, answered, verb, id, seq: seq.and_then(|seq| seq.parse().ok()), admitted, cause }
}

/// One message of a flow: where it ends, and its words.
#[derive(Debug)]
struct Message {
    end: usize,
    words: Vec<String>,
}

/// RESP values, arrays of one level as the list of their items.
fn resp_messages(bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut at = 0;
    while let Some((words, end)) = resp_value(bytes, at) {
        messages.push(Message { end, words });
        at = end;
    }
    messages
}

fn resp_value(bytes: &[u8], at: usize) -> Option<(Vec<String>, usize)> {
    let line_end = at + bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
    let text = String::from_utf8_lossy(&bytes[at + 1..line_end]).into_owned();
    let mut end = line_end + 2;
    match bytes[at] {
        b'*' => {
            let mut words = Vec::new();
            for _ in 0..text.parse::<usize>().ok()? {
                let (item, item_end) = resp_value(bytes, end)?;
                words.extend(item);
                end = item_end;
            }
            Some((words, end))
        }
        b'$' => {
            let length: usize = text.parse().ok()?;
            let body = bytes.get(end..end + length + 2)?;
            Some((vec![String::from_utf8_lossy(&body[..length]).into_owned()], end + length + 2))
        }
        _ => Some((vec![text], end)),
    }
}

/// HTTP messages: the words of the first line, and the body as the last word.
fn http_messages(bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut at = 0;
    while let Some(head_length) = bytes[at..].windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[at..at + head_length]).into_owned();
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok())
            .unwrap_or(0);
        let body = at + head_length + 4;
        let Some(text) = bytes.get(body..body + length) else { break };
        let mut words: Vec<String> = head.lines().next().unwrap_or("").split(' ').map(str::to_owned).collect();
        words.push(String::from_utf8_lossy(text).into_owned());
        at = body + length;
        messages.push(Message { end: at, words });
    }
    messages
}
