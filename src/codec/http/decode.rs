//! Gives a request's fields their meaning.

use super::fields::{FieldError, Fields, IDS_MAX, Operation};
use super::value::Value;
use crate::admission::{Admit, CallId, ID_BYTES_MAX, Kind, NAME_BYTES_MAX, Name, Request, ResyncToken, UNITS_MAX};
use crate::units::{CallKey, UnixMillis};

/// What a request asks, borrowed from its [`Fields`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'f> {
    /// The gate decides.
    Decide(Request<'f>),
    /// Leases start again.
    Refresh(Vec<CallId<'f>>),
    /// This proxy lives in this epoch now.
    Proxy(Name<'f>, u64),
    /// A step of a resync.
    Resync(Resync<'f>),
    /// An operator frees a call.
    ReleaseCall(Target<'f>),
}

/// Which call an operator means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'f> {
    /// The one with this key.
    Key(CallKey),
    /// The one with this id.
    Id(CallId<'f>),
}

/// A call's key from its 32 hexadecimal digits, as status pages show it.
#[must_use]
pub fn call_key(text: &[u8]) -> Option<CallKey> {
    let text = std::str::from_utf8(text).ok()?;
    if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let half = |range| text.get(range).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Some(CallKey { high: half(0..16)?, low: half(16..32)? })
}

/// A step of a resync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resync<'f> {
    /// Opens one.
    Begin(Name<'f>),
    /// Names calls.
    Add(ResyncToken, Vec<CallId<'f>>),
    /// Ends it.
    End(ResyncToken),
    /// Forgets it.
    Abort(ResyncToken),
}

impl Fields<'_> {
    /// What these fields ask.
    ///
    /// # Errors
    /// If a field that is needed is missing, or a value is not accepted; names the field, and what was found.
    pub fn decode(&self) -> Result<Decoded<'_>, FieldError> {
        match self.operation {
            Operation::Admit => self.admit().map(|admit| Decoded::Decide(Request::Admit(admit))),
            Operation::Confirm => {
                let (id, seq, ttl_s) = (self.id()?, self.number_u32("seq")?, self.number_u32("ttl")?);
                Ok(Decoded::Decide(Request::Confirm { id, seq, ttl_s }))
            }
            Operation::Release => {
                if let Some(value) = self.get("reason")
                    && value.bytes().is_none()
                {
                    return Err(FieldError::new("reason", value.found(), "a string"));
                }
                Ok(Decoded::Decide(Request::Release { id: self.id()?, seq: self.number_u32("seq")? }))
            }
            Operation::Refresh => {
                if self.get("ids").is_none() && self.get("ids_hex").is_none() {
                    return self.id().map(|id| Decoded::Refresh(vec![id]));
                }
                self.neither("id", "ids")?;
                self.neither("id_hex", "ids")?;
                self.ids().map(Decoded::Refresh)
            }
            Operation::Proxy => {
                let proxy = self.name("proxy")?.ok_or_else(|| missing("proxy", NAME))?;
                let epoch = self.number("epoch", u64::MAX, EPOCH)?.ok_or_else(|| missing("epoch", EPOCH))?;
                Ok(Decoded::Proxy(proxy, epoch))
            }
            Operation::Resync => self.resync().map(Decoded::Resync),
            Operation::ReleaseCall => self.target().map(Decoded::ReleaseCall),
        }
    }

    fn admit(&self) -> Result<Admit<'_>, FieldError> {
        let mut admit = Admit::call(self.id()?);
        admit.seq = self.number_u32("seq")?;
        admit.trunk = self.name("trunk")?;
        admit.tenant = self.name("tenant")?;
        admit.kind = self.kind()?;
        admit.webrtc = self.flag("webrtc")?;
        admit.license_type = self.name("type")?;
        admit.units = self.units()?;
        admit.emergency = self.flag("emergency")?;
        admit.priority = self.flag("priority")?;
        admit.ttl_s = self.number_u32("ttl")?;
        admit.encrypted = self.flag("encrypted")?;
        admit.proxy = self.name("proxy")?;
        admit.deadline = self.deadline()?;
        Ok(admit)
    }

    fn target(&self) -> Result<Target<'_>, FieldError> {
        let Some(key) = self.get("key") else { return self.id().map(Target::Id) };
        self.neither("id", "key")?;
        self.neither("id_hex", "key")?;
        let parsed = key.bytes().and_then(call_key);
        parsed.map(Target::Key).ok_or_else(|| FieldError::new("key", key.found(), "32 hexadecimal digits"))
    }

    fn resync(&self) -> Result<Resync<'_>, FieldError> {
        const OPS: &str = "begin, add, end or abort";
        let op = self.get("op").ok_or_else(|| missing("op", OPS))?;
        match op.bytes() {
            Some(b"begin") => {
                self.only("begin", &["proxy"])?;
                Ok(Resync::Begin(self.name("proxy")?.ok_or_else(|| missing("proxy", NAME))?))
            }
            Some(b"add") => {
                self.only("add", &["token", "ids", "ids_hex"])?;
                Ok(Resync::Add(self.token()?, self.ids()?))
            }
            Some(b"end") => {
                self.only("end", &["token"])?;
                self.token().map(Resync::End)
            }
            Some(b"abort") => {
                self.only("abort", &["token"])?;
                self.token().map(Resync::Abort)
            }
            Some(_) | None => Err(FieldError::new("op", op.found(), OPS)),
        }
    }

    /// Refuses the fields that this step of a resync has no use for.
    fn only(&self, op: &str, used: &[&str]) -> Result<(), FieldError> {
        for name in self.operation.fields() {
            if *name != "op" && !used.contains(name) && self.get(name).is_some() {
                let accepted = format!("{} with op {op}", used.join(", "));
                return Err(FieldError::new(name, "the field", accepted));
            }
        }
        Ok(())
    }

    fn neither(&self, one: &str, other: &str) -> Result<(), FieldError> {
        match self.get(one) {
            None => Ok(()),
            Some(_) => Err(FieldError::new(one, format!("the field beside {other}"), "one of them")),
        }
    }

    fn id(&self) -> Result<CallId<'_>, FieldError> {
        let (name, value) = match (self.get("id"), self.get("id_hex")) {
            (Some(value), None) => ("id", value),
            (None, Some(value)) => ("id_hex", value),
            (Some(_), Some(_)) => return Err(FieldError::new("id_hex", "the field beside id", "one of them")),
            (None, None) => return Err(missing("id", &id_accepted())),
        };
        call_id(name, value)
    }

    fn ids(&self) -> Result<Vec<CallId<'_>>, FieldError> {
        let accepted = || format!("a list of 1 to {IDS_MAX} ids");
        if self.get("ids").is_some() {
            self.neither("ids_hex", "ids")?;
        }
        let mut ids = Vec::new();
        for name in ["ids", "ids_hex"] {
            match self.get(name) {
                None => {}
                Some(Value::List(items)) => {
                    if items.is_empty() || ids.len() + items.len() > IDS_MAX {
                        return Err(FieldError::new(name, format!("a list of {}", items.len()), accepted()));
                    }
                    for item in items {
                        ids.push(call_id(name, item)?);
                    }
                }
                Some(other) => return Err(FieldError::new(name, other.found(), accepted())),
            }
        }
        if ids.is_empty() { Err(missing("ids", &accepted())) } else { Ok(ids) }
    }

    fn name(&self, field: &str) -> Result<Option<Name<'_>>, FieldError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let bytes = value.bytes().ok_or_else(|| FieldError::new(field, value.found(), NAME))?;
        Name::new(bytes).map(Some).map_err(|bad| FieldError::new(field, format!("{} bytes", bad.found), NAME))
    }

    fn number(&self, field: &str, max: u64, accepted: &str) -> Result<Option<u64>, FieldError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.whole() {
            Some(number) if number <= max => Ok(Some(number)),
            Some(_) | None => Err(FieldError::new(field, value.found(), accepted)),
        }
    }

    fn number_u32(&self, field: &str) -> Result<Option<u32>, FieldError> {
        let number = self.number(field, u64::from(u32::MAX), "a whole number from 0 to 4294967295")?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    fn units(&self) -> Result<u16, FieldError> {
        let accepted = "a whole number from 1 to 1000";
        match self.number("units", u64::from(UNITS_MAX), accepted)? {
            None => Ok(1),
            Some(0) => Err(FieldError::new("units", "0", accepted)),
            Some(number) => Ok(u16::try_from(number).unwrap_or(UNITS_MAX)),
        }
    }

    fn deadline(&self) -> Result<Option<UnixMillis>, FieldError> {
        let accepted = "a whole number of milliseconds since the Unix epoch";
        Ok(self.number("deadline", u64::MAX, accepted)?.map(UnixMillis))
    }

    fn flag(&self, field: &str) -> Result<bool, FieldError> {
        let Some(value) = self.get(field) else { return Ok(false) };
        value.flag().ok_or_else(|| {
            FieldError::new(field, value.found(), "true or false (in a query 1, 0, true, false, or nothing for true)")
        })
    }

    fn kind(&self) -> Result<Kind, FieldError> {
        let Some(value) = self.get("kind") else { return Ok(Kind::Call) };
        match value.bytes() {
            Some(b"call") => Ok(Kind::Call),
            Some(b"registration") => Ok(Kind::Registration),
            Some(_) | None => Err(FieldError::new("kind", value.found(), "call or registration")),
        }
    }

    /// A token comes back as a string, as it was answered, or as a number.
    fn token(&self) -> Result<ResyncToken, FieldError> {
        const TOKEN: &str = "the token that op begin answered";
        let value = self.get("token").ok_or_else(|| missing("token", TOKEN))?;
        let number = match value {
            Value::Text(text) => Value::Loose(text.clone()).whole(),
            Value::Null
            | Value::Bool(_)
            | Value::Whole(_)
            | Value::Number(_)
            | Value::Loose(_)
            | Value::List(_)
            | Value::Object => value.whole(),
        };
        number.map(ResyncToken).ok_or_else(|| FieldError::new("token", value.found(), TOKEN))
    }
}

const EPOCH: &str = "a whole number from 0 to 18446744073709551615 that changes at each start of the proxy";
const NAME: &str = "a string of 1 to 128 bytes";
const _: () = assert!(NAME_BYTES_MAX == 128 && UNITS_MAX == 1_000, "the messages say so");

fn id_accepted() -> String {
    format!("a string of 1 to {ID_BYTES_MAX} bytes")
}

fn call_id<'f>(name: &str, value: &'f Value<'_>) -> Result<CallId<'f>, FieldError> {
    let bytes = value.bytes().ok_or_else(|| FieldError::new(name, value.found(), id_accepted()))?;
    CallId::new(bytes).map_err(|bad| FieldError::new(name, format!("{} bytes", bad.found), id_accepted()))
}

fn missing(field: &str, accepted: &str) -> FieldError {
    FieldError::new(field, "nothing", accepted)
}
