use proptest::prelude::*;

use super::*;
use crate::cluster::{
    Adopt, Anchor, Ballot, Beat, BeatAck, Census, Class, Counted, Epoch, Hello, HintOf, Incarnation, Kind, Leave,
    LedgerId, Lend, Licenses, NodeName, Release, Released, Req, ResourceId, Seq, Spare, Vote,
};

fn node() -> impl Strategy<Value = NodeName> {
    "[a-z0-9][a-z0-9.-]{0,63}".prop_map(|text| text.parse().unwrap())
}

fn resource() -> impl Strategy<Value = ResourceId> {
    ("[a-z]{0,64}", any::<bool>(), any::<bool>()).prop_map(|(name, rate, hard)| ResourceId {
        name: name.into(),
        kind: if rate { Kind::Rate } else { Kind::Session },
        class: if hard { Class::Hard } else { Class::License },
    })
}

fn counts(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(ResourceId, Licenses)>> {
    prop::collection::vec((resource(), any::<u32>().prop_map(Licenses)), range)
}

fn spares() -> impl Strategy<Value = Vec<Spare>> {
    let spare = (resource(), any::<u32>(), any::<Option<u64>>());
    let spare = spare.prop_map(|(resource, count, lasts_ms)| Spare { resource, licenses: Licenses(count), lasts_ms });
    prop::collection::vec(spare, 0..5)
}

fn short_message() -> Message {
    Message::Census(Census { about: "sip-a".parse().unwrap(), anchor: Anchor(5), inc: Incarnation(6) })
}

fn message() -> impl Strategy<Value = Message> {
    let numbers = || any::<[u64; 4]>();
    prop_oneof![
        (node(), any::<(u16, u16, u128, u64, u64, bool)>(), prop::collection::vec(resource(), 0..5)).prop_map(
            |(node, (proto_min, proto_max, ledger, inc, life, asks), resources)| Message::Hello(Hello {
                proto_min,
                proto_max,
                node,
                ledger: LedgerId(ledger),
                inc: Incarnation(inc),
                life,
                asks,
                resources
            })
        ),
        (resource(), numbers(), any::<[u32; 2]>()).prop_map(|(resource, [a, b, c, d], [hold, want])| Message::Req(
            Req {
                resource,
                binc: Incarnation(a),
                linc: Incarnation(b),
                anchor: Anchor(c),
                hold: Licenses(hold),
                seen: Seq(d),
                want: Licenses(want)
            }
        )),
        (resource(), numbers(), any::<[u32; 2]>(), any::<Option<u64>>()).prop_map(
            |(resource, [a, b, c, d], [k, term_ms], anchor)| Message::Lend(Lend {
                resource,
                epoch: Epoch(a),
                linc: Incarnation(b),
                binc: Incarnation(c),
                seq: Seq(d),
                k: Licenses(k),
                anchor: anchor.map(Anchor),
                term_ms
            })
        ),
        (resource(), numbers(), any::<u32>()).prop_map(|(resource, [a, b, c, _], out)| Message::Adopt(Adopt {
            resource,
            linc: Incarnation(a),
            binc: Incarnation(b),
            out: Licenses(out),
            seq: Seq(c)
        })),
        any::<(u64, bool)>().prop_map(|(inc, draining)| Message::Leave(Leave { inc: Incarnation(inc), draining })),
        (node(), any::<[u64; 2]>()).prop_map(|(about, [anchor, inc])| Message::Census(Census {
            about,
            anchor: Anchor(anchor),
            inc: Incarnation(inc)
        })),
        (node(), any::<[u64; 2]>(), [counts(0..5), counts(0..5)]).prop_map(|(about, [a, b], [held, kept])| {
            Message::Counted(Counted { about, anchor: Anchor(a), inc_seen: Incarnation(b), held, kept })
        }),
        (node(), any::<[u64; 2]>()).prop_map(|(about, [round, anchor])| Message::Ballot(Ballot {
            about,
            round,
            anchor: Anchor(anchor)
        })),
        (node(), numbers(), any::<bool>(), prop::collection::vec(node(), 0..4), spares()).prop_map(
            |(about, [round, anchor, newest, _], given, before, spare)| Message::Vote(Vote {
                about,
                round,
                anchor: Anchor(anchor),
                given,
                newest,
                before,
                spare
            })
        ),
        any::<[u64; 2]>().prop_map(|[inc, a]| Message::Release(Release { inc: Incarnation(inc), anchor: Anchor(a) })),
        (any::<u64>(), counts(0..5))
            .prop_map(|(anchor, kept)| Message::Released(Released { anchor: Anchor(anchor), kept })),
        (any::<[u64; 2]>(), any::<Option<(u64, u64)>>(), spares()).prop_map(|([inc, anchor], echo, spare)| {
            let echo = echo.map(|(life, at)| (Incarnation(life), Anchor(at)));
            Message::Beat(Beat { inc: Incarnation(inc), anchor: Anchor(anchor), echo, spare })
        }),
        (any::<[u64; 5]>(), prop::collection::vec(node(), 0..4)).prop_map(
            |([inc, anchor, life, at, round], trustees)| Message::BeatAck(BeatAck {
                inc: Incarnation(inc),
                anchor: Anchor(anchor),
                at: (Incarnation(life), Anchor(at)),
                round,
                trustees
            })
        ),
    ]
}

fn hint() -> impl Strategy<Value = Hint> {
    let of = (resource(), any::<u64>(), any::<[u32; 5]>(), any::<bool>()).prop_map(
        |(resource, epoch, [home, used, free, surplus, demand], starving)| HintOf {
            resource,
            epoch: Epoch(epoch),
            home: Licenses(home),
            used,
            free,
            surplus: Licenses(surplus),
            demand,
            starving,
        },
    );
    (node(), any::<[u64; 2]>(), prop::collection::vec(of, 0..5)).prop_map(|(node, [inc, stamp], of)| Hint {
        node,
        inc: Incarnation(inc),
        stamp,
        of,
    })
}

proptest! {
    #[test]
    fn a_message_reads_as_it_was_written(message in message()) {
        let bytes = encode_message(&message).unwrap();
        prop_assert_eq!(decode_message(&bytes[LENGTH_BYTES..]).unwrap(), message);
    }

    #[test]
    fn a_hint_reads_as_it_was_written(hint in hint()) {
        let datagram = Datagram::Hint(hint);
        let bytes = encode_datagram(&datagram).unwrap();
        prop_assert_eq!(decode_datagram(&bytes).unwrap(), datagram);
    }

    #[test]
    fn any_bytes_are_an_error_or_a_message_that_reads_the_same_when_written_again(
        bytes in prop::collection::vec(any::<u8>(), 0..200), version in any::<bool>(),
    ) {
        let bytes = if version { [&[VERSION], &bytes[..]].concat() } else { bytes };
        if let Ok(message) = decode_message(&bytes) {
            let again = encode_message(&message).unwrap();
            prop_assert_eq!(decode_message(&again[LENGTH_BYTES..]).unwrap(), message);
        }
        if let Ok(datagram) = decode_datagram(&bytes) {
            let again = encode_datagram(&datagram).unwrap();
            prop_assert_eq!(decode_datagram(&again).unwrap(), datagram);
        }
    }

    #[test]
    fn a_damaged_message_is_an_error_or_another_message_never_a_panic(
        message in message(), at in any::<prop::sample::Index>(), bit in 0..8_u32,
    ) {
        let mut bytes = encode_message(&message).unwrap().split_off(LENGTH_BYTES);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(read) = decode_message(&bytes) {
            let again = encode_message(&read).unwrap();
            prop_assert_eq!(decode_message(&again[LENGTH_BYTES..]).unwrap(), read);
        }
    }

    #[test]
    fn a_stream_cut_anywhere_yields_the_messages_that_were_written(
        messages in prop::collection::vec(message(), 1..4), cut in 1..97_usize,
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|message| encode_message(message).unwrap()).collect();
        let mut frames = Frames::new();
        let mut read = Vec::new();
        for piece in stream.chunks(cut) {
            frames.push(piece);
            while let Some(message) = frames.next() {
                read.push(message.unwrap());
            }
        }
        prop_assert_eq!(read, messages);
    }
}

fn known() -> Vec<u8> {
    encode_datagram(&Datagram::Known(7)).unwrap()
}

#[test]
fn an_unknown_version_is_named() {
    let mut bytes = known();
    bytes[0] = 9;
    assert_eq!(decode_datagram(&bytes), Err(WireError::Version { found: 9 }));
    assert_eq!(decode_message(&bytes), Err(WireError::Version { found: 9 }));
    assert_eq!(
        decode_message(&bytes).unwrap_err().to_string(),
        "version 9 of the envelope is not known: 1 is accepted"
    );
}

#[test]
fn an_unknown_kind_of_datagram_is_named() {
    let mut bytes = known();
    bytes[1] = 77;
    assert_eq!(decode_datagram(&bytes), Err(WireError::Kind { found: 77 }));
}

#[test]
fn nothing_is_too_short() {
    assert_eq!(decode_datagram(&[]), Err(WireError::TooShort { found: 0 }));
    assert_eq!(decode_datagram(&[VERSION]), Err(WireError::TooShort { found: 1 }));
    assert_eq!(decode_message(&[]), Err(WireError::TooShort { found: 0 }));
}

#[test]
fn fields_of_a_later_release_behind_the_known_ones_are_skipped() {
    let mut bytes = known();
    bytes.extend([1, 2, 3]);
    assert_eq!(decode_datagram(&bytes), Ok(Datagram::Known(7)));
    let message = short_message();
    let mut bytes = encode_message(&message).unwrap().split_off(LENGTH_BYTES);
    bytes.extend([1, 2, 3]);
    assert_eq!(decode_message(&bytes), Ok(message));
}

#[test]
fn what_is_longer_than_the_bound_is_neither_read_nor_written() {
    let long = vec![VERSION; MESSAGE_BYTES_MAX + 1];
    assert_eq!(
        decode_message(&long),
        Err(WireError::TooLong { found: MESSAGE_BYTES_MAX + 1, accepted: MESSAGE_BYTES_MAX })
    );
    assert!(matches!(decode_datagram(&long), Err(WireError::TooLong { .. })));
    let frame = vec![0; DATAGRAM_BYTES_MAX - DATAGRAM_HEAD_BYTES + 1];
    assert!(matches!(encode_datagram(&Datagram::Membership(&frame)), Err(WireError::TooLong { .. })));
    assert!(encode_datagram(&Datagram::Membership(&frame[1..])).is_ok());
    let mut frames = Frames::new();
    frames.push(&u32::MAX.to_be_bytes());
    assert!(matches!(frames.next(), Some(Err(WireError::TooLong { .. }))));
}

#[test]
fn more_resources_than_any_node_has_are_refused() {
    let id = ResourceId { name: "cps".into(), kind: Kind::Rate, class: Class::License };
    let held = |count| {
        let counted = Counted {
            about: "a".parse().unwrap(),
            anchor: Anchor(1),
            inc_seen: Incarnation(1),
            held: vec![(id.clone(), Licenses(1)); count],
            kept: Vec::new(),
        };
        decode_message(&encode_message(&Message::Counted(counted)).unwrap()[LENGTH_BYTES..])
    };
    assert!(held(RESOURCES_MAX).is_ok());
    assert_eq!(held(RESOURCES_MAX + 1), Err(WireError::Unbounded { what: "message" }));
    let long = ResourceId { name: "n".repeat(RESOURCE_NAME_BYTES_MAX + 1).into(), ..id.clone() };
    let adopt = Message::Adopt(Adopt {
        resource: long,
        linc: Incarnation(1),
        binc: Incarnation(1),
        out: Licenses(1),
        seq: Seq(1),
    });
    assert_eq!(
        decode_message(&encode_message(&adopt).unwrap()[LENGTH_BYTES..]),
        Err(WireError::Unbounded { what: "message" })
    );
}

#[test]
fn a_frame_that_is_no_message_does_not_spoil_the_next() {
    let good = short_message();
    let mut frames = Frames::new();
    frames.push(&2_u32.to_be_bytes());
    frames.push(&[VERSION, 99]);
    frames.push(&encode_message(&good).unwrap());
    assert_eq!(frames.next(), Some(Err(WireError::Malformed { what: "message" })));
    assert_eq!(frames.next(), Some(Ok(good)));
    assert_eq!(frames.next(), None);
}
