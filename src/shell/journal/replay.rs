//! Reads the runs before: which files in which order, and their records in this boot's time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::PathBuf;

use super::files::{Found, Host, Scanned};
use super::format::{Content, HEADER_BYTES, Header};
use super::names::NameNumbers;
use super::reader::{Damage, DamageKind, FrameReader};
use crate::admission::{LiveRecord, Record};
use crate::units::Tick;

/// How many damaged places are told one by one; all of them are counted.
const DAMAGE_TOLD_MAX: usize = 100;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct ReplayReport {
    /// Files read.
    pub files: u64,
    /// Records handed on.
    pub records: u64,
    /// Damaged or missing bytes in all.
    pub damaged_bytes: u64,
    /// Damaged places in all.
    pub damaged_places: u64,
    /// The first hundred of them.
    pub damage: Vec<Damage>,
}

#[derive(Debug)]
enum Step {
    /// A file's records, with what to add to their ticks.
    File { path: PathBuf, name: String, header: Header, offset_nanos: i64 },
    /// Names of the snapshot, known from the beginning.
    Names { generation: u64, names: Vec<Record> },
    /// A run's files, before the first of them is read: their names are learned first. A name's number is in use before
    /// its record is appended, so that the log of any shard may refer to it earlier.
    Learn { generation: u64, files: Vec<(PathBuf, Header)> },
    /// What came before counts for names and rate stamps only.
    ForgetLive,
}

/// The records of the runs before, in an order in which replaying them gives the calls that were live: an iterator, so
/// that a journal of any length needs little memory.
#[derive(Debug)]
pub struct Replay {
    steps: std::vec::IntoIter<Step>,
    current: Option<Current>,
    numbers: NameNumbers,
    report: ReplayReport,
}

#[derive(Debug)]
struct Current {
    name: String,
    generation: u64,
    offset_nanos: i64,
    reader: FrameReader<File>,
    /// Of a snapshot: records so far, and whether its end was seen to agree.
    snapshot: Option<(u64, bool)>,
}

impl Replay {
    pub(super) fn new(scanned: Scanned, host: &Host) -> Self {
        let mut report = ReplayReport::default();
        for damage in scanned.damage {
            tell(&mut report, damage);
        }
        let steps = plan(scanned.found, host).into_iter();
        Self { steps, current: None, numbers: NameNumbers::default(), report }
    }

    /// What was read so far: everything, once the iterator has ended.
    #[must_use]
    pub const fn report(&self) -> &ReplayReport {
        &self.report
    }

    /// Learns the names of one file. What is damaged or unreadable is told when its records are read.
    fn learn(&mut self, generation: u64, path: &std::path::Path, header: Header) {
        let Ok(file) = open_behind_header(path) else { return };
        let mut reader = FrameReader::new(file, header);
        while let Some(content) = reader.next() {
            if let Content::Record(name @ Record::Name { .. }) = content {
                self.numbers.learn(generation, name);
            }
            drop(reader.take_damage());
        }
    }

    /// The next record of the current file, or `None` at its end.
    fn next_of_file(&mut self) -> Option<Record> {
        let current = self.current.as_mut()?;
        loop {
            let content = current.reader.next();
            for (offset, bytes, kind) in current.reader.take_damage() {
                tell(&mut self.report, Damage { file: current.name.clone(), offset, bytes, kind });
            }
            match content {
                Some(Content::Record(record)) => {
                    if let Some((records, _)) = &mut current.snapshot {
                        *records += 1;
                    }
                    self.report.records += 1;
                    let record = shifted(record, current.offset_nanos);
                    if let Some(record) = self.numbers.translate(current.generation, record) {
                        return Some(record);
                    }
                }
                Some(Content::Start { .. }) => {}
                Some(Content::End { records: expected }) => {
                    if let Some((records, agrees)) = &mut current.snapshot {
                        *agrees = *records == expected;
                    }
                }
                None => {
                    if let Some((_, false)) = current.snapshot {
                        let kind = DamageKind::Incomplete;
                        tell(&mut self.report, Damage { file: current.name.clone(), offset: 0, bytes: 0, kind });
                    }
                    return None;
                }
            }
        }
    }
}

impl Iterator for Replay {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.next_of_file() {
                return Some(record);
            }
            self.current = None;
            match self.steps.next()? {
                Step::ForgetLive => return Some(Record::SnapshotBegin),
                // Logged once more by the snapshot itself: here they are only learned.
                Step::Names { generation, names } => {
                    names.into_iter().for_each(|name| drop(self.numbers.translate(generation, name)));
                }
                Step::Learn { generation, files } => {
                    for (path, header) in files {
                        self.learn(generation, &path, header);
                    }
                }
                Step::File { path, name, header, offset_nanos } => match open_behind_header(&path) {
                    Ok(file) => {
                        self.report.files += 1;
                        let generation = header.generation;
                        let snapshot = (header.kind == super::format::FileKind::Snapshot).then_some((0, false));
                        let reader = FrameReader::new(file, header);
                        self.current = Some(Current { name, generation, offset_nanos, reader, snapshot });
                    }
                    Err(error) => {
                        let kind = DamageKind::Unreadable(error.to_string());
                        tell(&mut self.report, Damage { file: name, offset: 0, bytes: 0, kind });
                    }
                },
            }
        }
    }
}

fn open_behind_header(path: &std::path::Path) -> std::io::Result<File> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX)))?;
    Ok(file)
}

fn tell(report: &mut ReplayReport, damage: Damage) {
    report.damaged_places += 1;
    report.damaged_bytes += damage.bytes;
    if report.damage.len() < DAMAGE_TOLD_MAX {
        report.damage.push(damage);
    }
}

/// The order of reading.
///
/// A snapshot names, for each shard of its generation, the segment that its log was in when the snapshot began. From
/// there on every record is read again after it: records are absolute, so that this ends in the state of the log's end,
/// although the snapshot was taken while calls came and went. Files before it are read first, for stamps of the last
/// second and nothing else.
fn plan(found: Vec<Found>, host: &Host) -> Vec<Step> {
    let base = found.iter().rev().find(|file| file.name.shard.is_none()).cloned();
    let (starts, names) = base.as_ref().map(read_beginning).unwrap_or_default();
    let step = |file: Found| Step::File {
        name: file.name.to_string(),
        offset_nanos: host.offset_of(&file.header),
        path: file.path,
        header: file.header,
    };
    let mut runs: BTreeMap<u64, Vec<(PathBuf, Header)>> = BTreeMap::new();
    for file in found.iter().filter(|file| file.name.shard.is_some()) {
        runs.entry(file.name.generation).or_default().push((file.path.clone(), file.header.clone()));
    }
    // Before the first file of a run comes what its files call by name.
    let mut learn_first = |steps: Vec<Step>| -> Vec<Step> {
        let mut planned = Vec::new();
        for step in steps {
            if let Step::File { header, .. } = &step
                && let Some(files) = runs.remove(&header.generation)
            {
                planned.push(Step::Learn { generation: header.generation, files });
            }
            planned.push(step);
        }
        planned
    };
    let Some(base) = base else { return learn_first(found.into_iter().map(step).collect()) };
    // A shard that the snapshot doesn't name (its frame was damaged): all of its log is read again.
    let start_of = |shard| starts.iter().find(|(named, _)| *named == shard).map_or(0, |(_, sequence)| *sequence);
    let mut before = vec![Step::Names { generation: base.name.generation, names }];
    let mut after = Vec::new();
    for file in found {
        let Some(shard) = file.name.shard else { continue };
        let is_before = file.name.generation < base.name.generation
            || (file.name.generation == base.name.generation && file.name.sequence < start_of(shard));
        if is_before { before.push(step(file)) } else { after.push(step(file)) }
    }
    before.push(Step::ForgetLive);
    before.push(step(base));
    before.extend(after);
    learn_first(before)
}

/// What a snapshot begins with: where it begins in each shard's log, then the names.
fn read_beginning(snapshot: &Found) -> (Vec<(u16, u64)>, Vec<Record>) {
    let (mut starts, mut names) = (Vec::new(), Vec::new());
    let Ok(file) = open_behind_header(&snapshot.path) else { return (starts, names) };
    let mut reader = FrameReader::new(file, snapshot.header.clone());
    loop {
        match reader.next() {
            Some(Content::Start { shard, sequence }) => starts.push((shard, sequence)),
            Some(Content::Record(name @ Record::Name { .. })) => names.push(name),
            Some(Content::Record(Record::ProxyEpoch { .. })) => {}
            Some(Content::Record(
                Record::SnapshotBegin
                | Record::Live(_)
                | Record::Lease { .. }
                | Record::Ended { .. }
                | Record::Stamp { .. }
                | Record::Buried { .. },
            ))
            | Some(Content::End { .. })
            | None => return (starts, names),
        }
    }
}

/// The record in this boot's time. A time before this boot is 0: that is as long ago as it can tell.
fn shifted(record: Record, offset_nanos: i64) -> Record {
    if offset_nanos == 0 {
        return record;
    }
    let shift = |tick: Tick| Tick(tick.0.saturating_add_signed(offset_nanos));
    match record {
        Record::SnapshotBegin => Record::SnapshotBegin,
        Record::Name { class, number, name } => Record::Name { class, number, name },
        Record::ProxyEpoch { proxy, epoch, at } => Record::ProxyEpoch { proxy, epoch, at: shift(at) },
        Record::Live(live) => Record::Live(LiveRecord {
            admitted_at: shift(live.admitted_at),
            lease_ends_at: shift(live.lease_ends_at),
            ..live
        }),
        Record::Lease { key, at, lease_ends_at, lease_s, confirmed, seq } => {
            Record::Lease { key, at: shift(at), lease_ends_at: shift(lease_ends_at), lease_s, confirmed, seq }
        }
        Record::Ended { key, at, released } => Record::Ended { key, at: shift(at), released },
        Record::Stamp { at, trunk, tenant } => Record::Stamp { at: shift(at), trunk, tenant },
        Record::Buried { key, ends_at, seq } => Record::Buried { key, ends_at: shift(ends_at), seq },
    }
}
