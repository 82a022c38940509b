use proptest::prelude::*;

use super::*;
use crate::admission::{Kind, Request};

fn admit(query: &str, body: Body<'_>) -> Result<String, String> {
    let fields = Fields::read(Operation::Admit, query, body).map_err(|error| error.to_string())?;
    fields.decode().map(|decoded| format!("{decoded:?}")).map_err(|error| error.to_string())
}

fn error(operation: Operation, body: &str) -> FieldError {
    match Fields::read(operation, "", Body::Json(body.as_bytes())) {
        Err(error) => error,
        Ok(fields) => fields.decode().expect_err("refused"),
    }
}

#[test]
fn json_query_and_form_say_the_same() {
    let json =
        admit("", Body::Json(br#"{"id":"a b","webrtc":true,"seq":7,"kind":"registration","units":5.0}"#)).unwrap();
    let query = admit("id=a+b&webrtc&seq=7&kind=registration&units=5", Body::None).unwrap();
    let form = admit("webrtc=1", Body::Form(b"id=a%20b&seq=7&kind=registration&units=5")).unwrap();
    assert_eq!(json, query);
    assert_eq!(json, form);
}

#[test]
fn an_id_that_is_not_utf8_comes_percent_encoded_or_in_hexadecimal() {
    for (query, body) in
        [("id=%ff%00", Body::None), ("", Body::Json(br#"{"id_hex":"fF00"}"#)), ("id_hex=ff00", Body::None)]
    {
        let fields = Fields::read(Operation::Release, query, body).unwrap();
        let Decoded::Decide(request) = fields.decode().unwrap() else { panic!("a release") };
        assert_eq!(request.id().bytes(), [0xff, 0]);
    }
}

#[test]
fn errors_name_the_field_what_was_found_and_what_is_accepted() {
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(513));
    let rows = [
        (Operation::Admit, r#"{"id":""}"#, "id: found 0 bytes; accepted is a string of 1 to 512 bytes"),
        (Operation::Admit, &*long, "id: found 513 bytes; accepted is a string of 1 to 512 bytes"),
        (Operation::Admit, r#"{"id":7}"#, "id: found 7; accepted is a string of 1 to 512 bytes"),
        (Operation::Admit, "{}", "id: found nothing; accepted is a string of 1 to 512 bytes"),
        (
            Operation::Admit,
            r#"{"id":"a","seq":-1}"#,
            "seq: found the number -1; accepted is a whole number from 0 to 4294967295",
        ),
        (
            Operation::Admit,
            r#"{"id":"a","seq":4294967296}"#,
            "seq: found 4294967296; accepted is a whole number from 0 to 4294967295",
        ),
        (
            Operation::Admit,
            r#"{"id":"a","seq":"1"}"#,
            "seq: found the string '1'; accepted is a whole number from 0 to 4294967295",
        ),
        (Operation::Admit, r#"{"id":"a","units":0}"#, "units: found 0; accepted is a whole number from 1 to 1000"),
        (
            Operation::Admit,
            r#"{"id":"a","units":1.5}"#,
            "units: found the number 1.5; accepted is a whole number from 1 to 1000",
        ),
        (
            Operation::Admit,
            r#"{"id":"a","kind":"fax"}"#,
            "kind: found the string 'fax'; accepted is call or registration",
        ),
        (Operation::Admit, r#"{"id":"a","trunk":null}"#, "trunk: found null; accepted is a string of 1 to 128 bytes"),
        (
            Operation::Admit,
            r#"{"id":"a","id":"a"}"#,
            "id: found the field twice; accepted is the field once, in the query or in the body",
        ),
        (Operation::Refresh, r#"{"ids":[]}"#, "ids: found a list of 0; accepted is a list of 1 to 1000 ids"),
        (Operation::Refresh, r#"{"ids":["a",[]]}"#, "ids: found a list of 0; accepted is a string of 1 to 512 bytes"),
        (Operation::Proxy, r#"{"epoch":1}"#, "proxy: found nothing; accepted is a string of 1 to 128 bytes"),
        (
            Operation::Proxy,
            r#"{"proxy":"a","epoch":-1}"#,
            "epoch: found the number -1; accepted is a whole number from 0 to 18446744073709551615 that changes at each \
             start of the proxy",
        ),
        (Operation::Resync, r#"{"op":"stop"}"#, "op: found the string 'stop'; accepted is begin, add, end or abort"),
        (Operation::Resync, r#"{"op":"end"}"#, "token: found nothing; accepted is the token that op begin answered"),
        (
            Operation::Resync,
            r#"{"op":"end","token":"1","ids":["a"]}"#,
            "ids: found the field; accepted is token with op end",
        ),
        (Operation::Release, r#"{"id":"a","reason":{}}"#, "reason: found an object; accepted is a string"),
        (
            Operation::Release,
            r#"{"id_hex":"abc"}"#,
            "id_hex: found 'abc'; accepted is an even number of hexadecimal digits",
        ),
        (
            Operation::Confirm,
            r#"{"id":"a","color":1}"#,
            "color: found a field of this name; accepted is one of id, id_hex, seq, ttl",
        ),
    ];
    for (operation, body, expected) in rows {
        assert_eq!(error(operation, body).to_string(), expected, "{body}");
    }
    for body in [
        "",
        "[]",
        "{",
        "{\"id\":\"a\"} x",
        "nul",
        "\"a\"",
        &"[".repeat(10_000),
        &format!("{{\"ids\":{}", "[".repeat(10_000)),
    ] {
        assert_eq!(error(Operation::Refresh, body).field, "body", "{body:.20}");
    }
    assert!(admit("id=%f", Body::None).unwrap_err().contains("hexadecimal"));
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![proptest::collection::vec(any::<u8>(), 1..max), "[a-z0-9@.]{1,20}".prop_map(String::into_bytes)]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        id in bytes(512), trunk in proptest::option::of(bytes(128)), seq in any::<Option<u32>>(), units in 1..=1000_u16,
        flags in any::<[bool; 4]>(), registration in any::<bool>(), ttl in any::<Option<u32>>(), deadline in any::<Option<u64>>(),
    ) {
        let mut admit = crate::admission::Admit::call(crate::admission::CallId::new(&id).unwrap());
        admit.trunk = trunk.as_deref().map(|name| crate::admission::Name::new(name).unwrap());
        (admit.seq, admit.units, admit.ttl_s) = (seq, units, ttl);
        admit.deadline = deadline.map(crate::units::UnixMillis);
        [admit.webrtc, admit.emergency, admit.priority, admit.encrypted] = flags;
        if registration { admit.kind = Kind::Registration; }
        let decoded = Decoded::Decide(Request::Admit(admit));
        let query = encode::query(&decoded);
        let fields = Fields::read(Operation::Admit, &query, Body::None).unwrap();
        prop_assert_eq!(&fields.decode().unwrap(), &decoded);
        if let Some(json) = encode::json(&decoded) {
            let fields = Fields::read(Operation::Admit, "", Body::Json(json.as_bytes())).unwrap();
            prop_assert_eq!(fields.decode().unwrap(), decoded);
        }
    }

    #[test]
    fn garbage_never_panics(query in ".{0,60}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for operation in Operation::ALL {
            for body in [Body::Json(&body), Body::Form(&body)] {
                if let Ok(fields) = Fields::read(operation, &query, body) { let _ = fields.decode(); }
            }
        }
    }
}
