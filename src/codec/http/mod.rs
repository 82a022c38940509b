//! The HTTP interface's bodies and query strings.
//!
//! A request's fields come as a JSON object, as a form, or as query parameters; they carry the RESP names in lower case
//! (`type` for the license type), plus `id`. [`Fields::read`] collects them, [`Fields::decode`] gives them meaning.
//!
//! - In a query or form, `+` is a blank and `%xx` is a byte, so that ids that aren't UTF-8 can be said; a list (`ids`)
//!   is said by repeating its name; a flag is `1`, `true` or nothing for yes, `0` or `false` for no.
//! - In JSON, an id that isn't UTF-8 is said in hexadecimal, as `id_hex` or `ids_hex`; `null` is refused: leave the
//!   field out.
//! - A field that is said twice, also once here and once there, is an error.
//!
//! ```
//! use callgate::codec::http::{Body, Decoded, Fields, Operation};
//! let fields = Fields::read(Operation::Admit, "trunk=carrier-a", Body::Json(br#"{"id":"abc"}"#)).unwrap();
//! assert!(matches!(fields.decode().unwrap(), Decoded::Decide(_)));
//! let error = Fields::read(Operation::Admit, "id=abc&units=0", Body::None).unwrap().decode().unwrap_err();
//! assert_eq!(error.field, "units");
//! ```

mod decode;
pub mod encode;
mod fields;
pub mod reply;
mod value;

pub use decode::{Decoded, Resync, Target, call_key};
pub use fields::{Body, FieldError, Fields, IDS_MAX, Operation};

#[cfg(test)]
mod tests;
