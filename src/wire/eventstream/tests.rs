use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use proptest::prelude::*;

use super::*;

const FIXTURES: [(&str, &[u8]); 4] = [
    ("basic", include_bytes!("../../../tests/fixtures/bedrock/basic.bin")),
    ("tool", include_bytes!("../../../tests/fixtures/bedrock/tool.bin")),
    ("throttling", include_bytes!("../../../tests/fixtures/bedrock/generated-throttling-first.bin")),
    ("midstream", include_bytes!("../../../tests/fixtures/bedrock/generated-midstream-model-error.bin")),
];

/// A frame that owns its bytes, to compare.
#[derive(Debug, PartialEq)]
struct Owned {
    headers: Vec<(String, String)>,
    payload: Vec<u8>,
}

fn owned(frame: &Frame<'_>) -> Owned {
    let headers = frame.headers().map(|(name, value)| (name.to_owned(), format!("{value:?}"))).collect();
    Owned { headers, payload: frame.payload.to_vec() }
}

/// All frames of chunks that together are a whole body.
fn read<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Result<Vec<Owned>, Error> {
    let mut parser = Parser::new();
    let mut all = Vec::new();
    for chunk in chunks {
        let mut frames = parser.push(chunk);
        while let Some(frame) = frames.next_frame()? {
            all.push(owned(&frame));
        }
    }
    parser.finish()?;
    assert!(parser.is_empty());
    Ok(all)
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/eventstream.json")).unwrap()
}

/// A frame around header bytes of any kind, both checksums right.
fn frame_with_headers(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let total = (OVERHEAD + headers.len() + payload.len()) as u32;
    let mut frame = [total.to_be_bytes(), (headers.len() as u32).to_be_bytes()].concat();
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(headers);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

#[test]
fn published_vectors_parse_and_are_written_byte_for_byte() {
    let vectors = vectors();
    for vector in vectors["frames"].as_array().unwrap() {
        let bytes = unhex(vector["hex"].as_str().unwrap());
        let (frame, length) = Frame::parse(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        assert_eq!(frame.payload, vector["payload"].as_str().unwrap().as_bytes());
        let expected = vector["headers"].as_object().unwrap();
        assert_eq!(frame.headers().count(), expected.len());
        for (name, value) in expected {
            assert_eq!(frame.header(name), value.as_str(), "{name}");
        }
        assert_eq!(frame.message_type(), frame.header(MESSAGE_TYPE));
        assert_eq!(frame.event_type(), frame.header(EVENT_TYPE));
        assert_eq!(frame.exception_type(), frame.header(EXCEPTION_TYPE));

        let headers: Vec<_> = frame.headers().map(|(name, _)| (name, frame.header(name).unwrap())).collect();
        let mut written = Vec::new();
        write_frame(&mut written, &headers, frame.payload);
        assert_eq!(written, bytes);
    }
}

#[test]
fn published_broken_vectors_are_refused_for_the_published_reason() {
    let vectors = vectors();
    for vector in vectors["invalid"].as_array().unwrap() {
        let bytes = unhex(vector["hex"].as_str().unwrap());
        let error = read([&bytes[..]]).unwrap_err();
        let expect = vector["expect"].as_str().unwrap();
        let right = match error {
            Error::MessageChecksum { .. } => expect.starts_with("message CRC"),
            Error::PreludeChecksum { .. } => expect.starts_with("prelude CRC"),
            Error::Truncated { left } => expect.starts_with("incomplete") && left == bytes.len(),
            _ => false,
        };
        assert!(right, "{expect}: {error}");
    }
}

#[test]
fn trap_04_recorded_streams_give_the_same_frames_for_every_split_point_and_chunk_size() {
    for (name, bytes) in FIXTURES {
        let whole = read([bytes]).unwrap();
        assert!(!whole.is_empty(), "{name}");
        for at in 0..=bytes.len() {
            assert_eq!(read([&bytes[..at], &bytes[at..]]).unwrap(), whole, "{name} split at {at}");
        }
        for size in 1..=bytes.len() {
            assert_eq!(read(bytes.chunks(size)).unwrap(), whole, "{name} in chunks of {size}");
        }
    }
}

#[test]
fn every_truncation_is_told_from_a_whole_stream() {
    for (name, bytes) in FIXTURES {
        let mut ends = vec![0];
        let mut rest = bytes;
        while let Some((_, length)) = Frame::parse(rest).unwrap() {
            ends.push(ends[ends.len() - 1] + length);
            rest = &rest[length..];
        }
        for at in 0..=bytes.len() {
            let last = ends.iter().rev().find(|end| **end <= at).unwrap();
            let expected = if *last == at { None } else { Some(Error::Truncated { left: at - last }) };
            assert_eq!(read([&bytes[..at]]).err(), expected, "{name} cut at {at}");
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = FIXTURES[1].1;
    let (_, length) = Frame::parse(bytes).unwrap().unwrap();
    for bit in 0..length * 8 {
        let mut broken = bytes[..length].to_vec();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(Frame::parse(&broken).is_err(), "bit {bit}");
    }
}

#[test]
fn declared_lengths_are_checked_before_anything_is_buffered() {
    let prelude = |total: u32, headers: u32| {
        let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    };
    let refused = |total, headers| {
        let mut parser = Parser::new();
        let bytes = prelude(total, headers);
        assert!(parser.push(&bytes[..11]).next_frame().unwrap().is_none());
        parser.push(&bytes[11..]).next_frame().unwrap_err()
    };
    for (total, headers) in [(0, 0), (15, 0), (16, 1), (100, 85), (u32::MAX, u32::MAX), (0, u32::MAX)] {
        assert_eq!(refused(total, headers), Error::Lengths { total, headers });
    }
    let (headers, payload) = (HEADERS_CAP as u32, PAYLOAD_CAP as u32);
    assert_eq!(refused(u32::MAX, 0), Error::PayloadTooLong { length: u32::MAX as usize - 16 });
    assert_eq!(refused(payload + 17, 0), Error::PayloadTooLong { length: PAYLOAD_CAP + 1 });
    assert_eq!(refused(headers + 17, headers + 1), Error::HeadersTooLong { length: HEADERS_CAP + 1 });
    assert!(Parser::new().push(&prelude(payload + headers + 16, headers)).next_frame().unwrap().is_none());
}

#[test]
fn an_empty_frame_is_a_frame() {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, &[], b"");
    assert_eq!(bytes.len(), 16);
    let all = read([&bytes[..], &bytes[..]]).unwrap();
    assert_eq!(all, [Owned { headers: vec![], payload: vec![] }, Owned { headers: vec![], payload: vec![] }]);
}

#[test]
fn after_an_error_the_parser_stays_failed() {
    let good = FIXTURES[0].1;
    let mut broken = good.to_vec();
    let (_, first) = Frame::parse(good).unwrap().unwrap();
    broken[first + 20] ^= 1;
    let mut parser = Parser::new();
    let error = {
        let mut frames = parser.push(&broken);
        assert!(frames.next_frame().unwrap().is_some());
        let error = frames.next_frame().unwrap_err();
        assert_eq!(frames.next_frame().unwrap_err(), error);
        error
    };
    assert!(matches!(error, Error::MessageChecksum { .. }));
    assert_eq!(parser.push(good).next_frame().unwrap_err(), error);
    assert_eq!(parser.finish(), Err(error));
    assert!(!parser.is_empty());
}

#[test]
fn frames_that_nobody_read_are_kept_for_the_next_chunk() {
    for (name, bytes) in FIXTURES {
        let whole = read([bytes]).unwrap();
        let mut parser = Parser::new();
        let mut all = Vec::new();
        // Reads at most one frame from each chunk, so that the tail holds several.
        for chunk in bytes.chunks(97).chain(std::iter::repeat_n(&[][..], whole.len())) {
            if let Some(frame) = parser.push(chunk).next_frame().unwrap() {
                all.push(owned(&frame));
            }
        }
        assert_eq!(all, whole, "{name}");
        parser.finish().unwrap();
    }
}

#[test]
fn a_large_frame_does_not_keep_its_memory() {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, &[(MESSAGE_TYPE, EVENT)], &vec![b'x'; 1 << 20]);
    let mut parser = Parser::new();
    for chunk in bytes.chunks(4096) {
        let mut frames = parser.push(chunk);
        while frames.next_frame().unwrap().is_some() {}
    }
    assert!(parser.is_empty());
    assert!(parser.tail.capacity() <= KEPT_CAPACITY);
}

#[test]
fn broken_headers_are_named_with_their_place() {
    let good = b"\x01a\x07\x00\x01x";
    let cases: [(&[u8], HeaderFault); 9] = [
        (b"\x05abc", HeaderFault::Cut),
        (b"\x01b", HeaderFault::Cut),
        (b"\x01b\x07\x00", HeaderFault::Cut),
        (b"\x01b\x07\x00\x02x", HeaderFault::Cut),
        (b"\x01b\x09123", HeaderFault::Cut),
        (b"\x01b\x0a", HeaderFault::UnknownType(10)),
        (b"\x01\xff\x00", HeaderFault::NameText),
        (b"\x01b\x07\x00\x01\xff", HeaderFault::ValueText),
        (b"\x01a\x00", HeaderFault::Duplicate),
    ];
    for (tail, fault) in cases {
        let bytes = frame_with_headers(&[&good[..], tail].concat(), b"");
        assert_eq!(Frame::parse(&bytes).unwrap_err(), Error::Header { at: PRELUDE + good.len(), fault });
    }
}

#[test]
fn duplicates_are_found_among_many_headers_too() {
    let header = |name: usize| [&[2][..], &(name as u16).to_be_bytes().map(|byte| byte & 0x7f), &[0]].concat();
    for (first, second) in [(0, 5), (0, 50), (20, 60)] {
        let mut headers: Vec<u8> = (0..100).flat_map(header).collect();
        assert!(Frame::parse(&frame_with_headers(&headers, b"")).is_ok());
        headers.splice(second * 4..second * 4 + 4, header(first));
        let fault = Error::Header { at: PRELUDE + second * 4, fault: HeaderFault::Duplicate };
        assert_eq!(Frame::parse(&frame_with_headers(&headers, b"")).unwrap_err(), fault);
    }
}

#[test]
fn unknown_headers_are_carried_and_text_lookups_ignore_other_types() {
    let headers = b"\x03new\x05\x00\x00\x00\x00\x00\x00\x00\x07\x0d:message-type\x07\x00\x05event\x0b:event-type\x01";
    let bytes = frame_with_headers(headers, b"{}");
    let (frame, _) = Frame::parse(&bytes).unwrap().unwrap();
    assert_eq!(frame.message_type(), Some(EVENT));
    assert_eq!((frame.event_type(), frame.header("new"), frame.header("NEW")), (None, None, None));
    assert_eq!(frame.headers().next(), Some(("new", Value::Int64(7))));
}

#[test]
fn what_does_not_fit_a_header_is_cut_at_a_character() {
    let long = "\u{e9}".repeat(40_000);
    let mut bytes = Vec::new();
    write_frame(&mut bytes, &[(&long, &long)], b"p");
    let (frame, _) = Frame::parse(&bytes).unwrap().unwrap();
    let (name, value) = frame.headers().next().unwrap();
    assert_eq!((name.len(), value), (254, Value::Text(&long[..65_534])));
}

/// Any header of the format, as the other implementation has it.
fn any_header_value() -> impl Strategy<Value = HeaderValue> {
    prop_oneof![
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i8>().prop_map(HeaderValue::Byte),
        any::<i16>().prop_map(HeaderValue::Int16),
        any::<i32>().prop_map(HeaderValue::Int32),
        any::<i64>().prop_map(HeaderValue::Int64),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| HeaderValue::ByteArray(bytes.into())),
        ".{0,20}".prop_map(|text: String| HeaderValue::String(text.into())),
        (-1_000_000_000_000_i64..1_000_000_000_000).prop_map(|ms| HeaderValue::Timestamp(aws_smithy_types::DateTime::from_millis(ms))),
        any::<u128>().prop_map(HeaderValue::Uuid),
    ]
}

/// Our value in the other implementation's type.
fn theirs(value: Value<'_>) -> HeaderValue {
    match value {
        Value::Bool(value) => HeaderValue::Bool(value),
        Value::Int8(value) => HeaderValue::Byte(value),
        Value::Int16(value) => HeaderValue::Int16(value),
        Value::Int32(value) => HeaderValue::Int32(value),
        Value::Int64(value) => HeaderValue::Int64(value),
        Value::Bytes(value) => HeaderValue::ByteArray(value.to_vec().into()),
        Value::Text(value) => HeaderValue::String(value.to_owned().into()),
        Value::Timestamp(value) => HeaderValue::Timestamp(aws_smithy_types::DateTime::from_millis(value)),
        Value::Uuid(value) => HeaderValue::Uuid(u128::from_be_bytes(value)),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        headers in proptest::collection::btree_map(".{0,20}", ".{0,40}", 0..20),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        size in 1_usize..64,
    ) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut bytes = b"before".to_vec();
        write_frame(&mut bytes, &headers, &payload);
        let bytes = &bytes[6..];
        let (frame, length) = Frame::parse(bytes).unwrap().unwrap();
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!(frame.payload, &payload[..]);
        let read_back: Vec<_> = frame.headers().collect();
        let expected: Vec<_> = headers.iter().map(|(name, value)| (*name, Value::Text(value))).collect();
        prop_assert_eq!(read_back, expected);
        prop_assert_eq!(read(bytes.chunks(size)).unwrap(), vec![owned(&frame)]);

        let DecodedFrame::Complete(message) = MessageFrameDecoder::new().decode_frame(&mut &bytes[..]).unwrap() else { panic!("incomplete") };
        prop_assert_eq!(&message.payload()[..], &payload[..]);
        prop_assert_eq!(message.headers().len(), headers.len());
    }

    #[test]
    fn frames_of_the_aws_crate_are_read_with_all_value_types(
        headers in proptest::collection::btree_map("[a-z:-]{1,20}", any_header_value(), 0..20),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let message = headers.iter().fold(Message::new(payload.clone()), |message, (name, value)| message.add_header(Header::new(name.clone(), value.clone())));
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        let (frame, _) = Frame::parse(&bytes).unwrap().unwrap();
        prop_assert_eq!(frame.payload, &payload[..]);
        let read_back: Vec<_> = frame.headers().map(|(name, value)| (name.to_owned(), theirs(value))).collect();
        prop_assert_eq!(read_back, headers.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
        let _ = read(bytes.chunks(size));
        // The same bytes as headers of a frame whose checksums are right.
        let _ = read([&frame_with_headers(&bytes, b"")[..]]);
    }

    #[test]
    fn whatever_we_accept_the_aws_crate_accepts(bytes in proptest::collection::vec(any::<u8>(), 2..60), flip in 0_usize..2000) {
        let mut frame = frame_with_headers(&bytes, b"{}");
        let bit = flip % (frame.len() * 16);
        if let Some(byte) = frame.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        if matches!(Frame::parse(&frame), Ok(Some(_))) {
            let theirs = MessageFrameDecoder::new().decode_frame(&mut &frame[..]);
            prop_assert!(matches!(theirs, Ok(DecodedFrame::Complete(_))), "{:?}", theirs);
        }
    }
}
