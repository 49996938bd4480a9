//! Frames of HTTP/2 that no client sends by accident: RFC 9113, sections 4 to 6 and 10.5. Whatever becomes of their connection, the others are served.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::common::{Client, Gateway, h2};
use crate::provider::provider;
use crate::{BOUND, canary, chat, check_canary, gateway};

const PROTOCOL_ERROR: u32 = 1;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field of HPACK in full: RFC 7541, section 6.2.2, without Huffman codes.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        // A length of seven bits, and what is beyond them: section 5.1.
        let mut length = text.len();
        if length < 127 {
            out.push(length as u8);
        } else {
            out.push(127);
            length -= 127;
            while length >= 128 {
                out.push((length % 128) as u8 | 128);
                length /= 128;
            }
            out.push(length as u8);
        }
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// The head of a chat.
fn head(more: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/v1/chat/completions"), ("content-type", "application/json")];
    own.iter().chain(more).flat_map(|(name, value)| field(name, value)).collect()
}

/// A request that would be answered.
fn request(stream: u32) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, stream, &head(&[])), frame(DATA, END_STREAM, stream, chat("gpt", "canary-7", false).as_bytes())].concat()
}

/// What a connection has said so far.
#[derive(Debug, Default)]
struct Said {
    /// Streams that were reset, each with its code.
    resets: Vec<(u32, u32)>,
    /// The code with which the connection goes away.
    goodbye: Option<u32>,
    /// Streams that were answered, each with the first byte of its head, which holds the status: RFC 7541, appendix A.
    answers: Vec<(u32, u8)>,
    /// The ping behind everything has come back.
    echoed: bool,
}

/// `:status: 200` in HPACK's static table.
const OK: u8 = 0x88;
/// The ping that is sent last.
const LAST: &[u8; 8] = b"and last";

/// Sends frames behind the preface and reads until enough is said, or the gateway closes.
fn send(gateway: &Gateway, frames: &[u8], enough: impl Fn(&Said) -> bool) -> Said {
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), frames].concat();
    let mut writer = stream.try_clone().unwrap();
    // Floods are answered while they come. They may be refused long before their end.
    let writes = std::thread::spawn(move || drop(writer.write_all(&bytes)));
    let (mut said, mut buffer, mut piece) = (Said::default(), Vec::new(), [0; 16384]);
    while !enough(&said) {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => buffer.extend_from_slice(&piece[..read]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => panic!("a hang: {said:?}"),
            // It was cut off.
            Err(_) => break,
        }
        let used = read(&buffer, &mut said);
        buffer.drain(..used);
    }
    let _ = stream.shutdown(Shutdown::Both);
    writes.join().unwrap();
    said
}

/// Reads whole frames; how many bytes they were.
fn read(bytes: &[u8], said: &mut Said) -> usize {
    let mut rest = bytes;
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        let (kind, stream) = (rest[3], u32::from_be_bytes(rest[5..9].try_into().unwrap()));
        let Some(payload) = rest.get(9..9 + length) else { break };
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match kind {
            RST_STREAM => said.resets.push((stream, code(0))),
            GOAWAY => said.goodbye = Some(said.goodbye.unwrap_or(0).max(code(4))),
            // Whoever changes the size of the table says so first.
            HEADERS => said.answers.push((stream, payload.iter().copied().find(|byte| byte & 0xe0 != 0x20).unwrap())),
            PING => said.echoed |= payload == LAST,
            _ => {}
        }
        rest = &rest[9 + length..];
    }
    bytes.len() - rest.len()
}

/// Others are served: on the connection that they have, on a new one, and over HTTP/2.
fn check_others(gateway: &Gateway, neighbour: &mut Client, number: u64) {
    neighbour.send(&canary(number, "gpt"));
    check_canary(neighbour, number);
    let mut fresh = gateway.connect();
    fresh.send(&canary(number + 1, "claude-3-haiku"));
    check_canary(&mut fresh, number + 1);
    let own = format!("canary-{}", number + 2);
    let answer = h2::send(gateway, "POST", "/v1/chat/completions", &[("content-type", "application/json")], chat("gpt", &own, false).as_bytes(), 0);
    let answer = answer.join().unwrap();
    assert_eq!((answer.status, &answer.json()["choices"][0]["message"]["content"]), (200, &own.as_str().into()));
}

#[test]
fn a_broken_frame_ends_its_connection_or_its_stream_and_no_other() {
    const FLOW_CONTROL_ERROR: u32 = 3;
    const STREAM_CLOSED: u32 = 5;
    const FRAME_SIZE_ERROR: u32 = 6;
    const COMPRESSION_ERROR: u32 = 9;
    // The RFC wants the first; that the connection ends is what matters.
    const SIZE: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
    let gateway = gateway(provider(), "");
    let mut neighbour = gateway.connect();
    let open = frame(HEADERS, END_HEADERS, 1, &head(&[]));
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(&[]));
    let window = |stream, more: u32| frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes());
    // What the connection says at the end; sections of RFC 9113.
    let deadly: [(&str, Vec<u8>, &[u32]); 16] = [
        ("a frame larger than was agreed on (4.2)", [open.clone(), frame(DATA, 0, 1, &vec![b' '; 16_385])].concat(), &[FRAME_SIZE_ERROR]),
        ("a frame as large as there can be (4.2)", [open.clone(), frame(DATA, 0, 1, &vec![b' '; (1 << 24) - 1])].concat(), &[FRAME_SIZE_ERROR]),
        ("a window of more than 2^31 - 1 (6.9.1)", window(0, i32::MAX as u32), &[FLOW_CONTROL_ERROR]),
        ("a window update of nothing (6.9)", window(0, 0), &[PROTOCOL_ERROR]),
        ("a window update of three bytes (6.9)", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]), SIZE),
        ("data on stream 0 (6.1)", frame(DATA, 0, 0, b"x"), &[PROTOCOL_ERROR]),
        ("data on a stream that nobody has opened (5.1)", frame(DATA, 0, 5, b"x"), &[PROTOCOL_ERROR, STREAM_CLOSED]),
        ("a request on the server's stream (5.1.1)", request(2), &[PROTOCOL_ERROR]),
        ("more padding than there is (6.1)", [open.clone(), frame(DATA, PADDED, 1, &[200, 0])].concat(), &[PROTOCOL_ERROR]),
        ("settings of five bytes (6.5)", frame(SETTINGS, 0, 0, &[0; 5]), SIZE),
        ("an acknowledgement with settings (6.5)", frame(SETTINGS, ACK, 0, &[0, 4, 0, 0, 0, 1]), SIZE),
        ("a ping of seven bytes (6.7)", frame(PING, 0, 0, &[0; 7]), SIZE),
        ("a push by a client (8.4)", [open.clone(), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])].concat(), &[PROTOCOL_ERROR]),
        ("a continuation of nothing (6.10)", frame(CONTINUATION, END_HEADERS, 1, &head(&[])), &[PROTOCOL_ERROR]),
        ("something between headers and their continuation (6.2)", [frame(HEADERS, 0, 1, &head(&[])), window(0, 1)].concat(), &[PROTOCOL_ERROR]),
        ("an index that no table has (RFC 7541, 2.3.3)", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f]), &[COMPRESSION_ERROR, PROTOCOL_ERROR]),
    ];
    for (number, (what, frames, codes)) in (0_u64..).zip(deadly) {
        let said = send(&gateway, &frames, |said| said.goodbye.is_some());
        assert!(said.goodbye.is_some_and(|code| codes.contains(&code)), "{what}: {said:?}");
        check_others(&gateway, &mut neighbour, 10 * number);
    }
    // A broken request takes no other one with it: the next stream of the same connection is answered.
    let again = [whole, open.clone(), request(3)].concat();
    let upper = [frame(HEADERS, END_HEADERS, 1, &head(&[("X-Upper", "x")])), request(3)].concat();
    let hop = [frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(&[("connection", "close")])), request(3)].concat();
    let late = [frame(HEADERS, END_HEADERS | END_STREAM, 1, &[field("x", "y"), head(&[])].concat()), request(3)].concat();
    let length = [frame(HEADERS, END_HEADERS, 1, &head(&[("content-length", "1")])), frame(DATA, END_STREAM, 1, b"{}"), request(3)].concat();
    let itself = [frame(HEADERS, END_HEADERS, 1, &head(&[])), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), request(3)].concat();
    let overflow = [open, window(1, i32::MAX as u32), request(3)].concat();
    for (number, (what, frames)) in (100_u64..).zip([
        ("headers behind the end of a stream", again),
        ("a name in upper case", upper),
        ("a header of the hop", hop),
        ("a pseudo-header behind others", late),
        ("a body longer than it says", length),
        ("a stream that depends on itself", itself),
        ("a window of a stream that overflows", overflow),
    ]) {
        let third = |said: &Said| said.answers.iter().any(|(stream, _)| *stream == 3);
        let said = send(&gateway, &frames, |said| third(said) || said.goodbye.is_some());
        let refused = said.resets.iter().any(|(stream, _)| *stream == 1) || said.answers.iter().any(|(stream, status)| *stream == 1 && *status != OK);
        assert!(said.goodbye.is_some_and(|code| code != 0) || (refused && said.answers.contains(&(3, OK))), "{what}: {said:?}");
        check_others(&gateway, &mut neighbour, 10 * number);
    }
    assert!(!gateway.log.text().contains("panicked"));
}

#[test]
fn floods_of_frames_are_ended_and_leave_nothing_behind() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let gateway = gateway(provider(), "");
    let mut neighbour = gateway.connect();
    check_others(&gateway, &mut neighbour, 0);
    let before = gateway.descriptors();
    let streams = || (0_u32..10_000).map(|number| 2 * number + 1);
    // CVE-2023-44487: each of them would cost an upstream request.
    let resets = streams().flat_map(|stream| [frame(HEADERS, END_HEADERS, stream, &head(&[])), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]).flatten();
    // CVE-2024-27316: headers that never end.
    let continued =
        std::iter::once(frame(HEADERS, 0, 1, &head(&[]))).chain((0..10_000).map(|_| frame(CONTINUATION, 0, 1, &field("x", &"v".repeat(1000))))).flatten();
    // CVE-2025-8671: the server is made to reset them itself.
    let provoked = streams().flat_map(|stream| [frame(HEADERS, END_HEADERS, stream, &head(&[])), frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 0])]).flatten();
    for (number, (what, frames)) in
        (1_u64..).zip([("rapid resets", resets.collect::<Vec<u8>>()), ("headers without an end", continued.collect()), ("provoked resets", provoked.collect())])
    {
        let said = send(&gateway, &frames, |said| said.goodbye.is_some());
        // Who is cut off while it sends may not hear why.
        assert!(said.goodbye.is_none_or(|code| code == ENHANCE_YOUR_CALM || code == PROTOCOL_ERROR), "{what}: {said:?}");
        assert_eq!(said.answers, [], "{what}");
        check_others(&gateway, &mut neighbour, 10 * number);
    }
    // These may be no more than useless: they are borne, or the connection ends.
    let pings = (0..10_000).flat_map(|_| frame(PING, 0, 0, &[0; 8])).collect::<Vec<u8>>();
    let settings = (0..10_000).flat_map(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).collect::<Vec<u8>>();
    let empty = [frame(HEADERS, END_HEADERS, 1, &head(&[])), (0..10_000).flat_map(|_| frame(DATA, 0, 1, &[])).collect()].concat();
    for (number, mut frames) in (4_u64..).zip([pings, settings, empty]) {
        frames.extend(frame(PING, 0, 0, LAST));
        send(&gateway, &frames, |said| said.echoed || said.goodbye.is_some());
        check_others(&gateway, &mut neighbour, 10 * number);
    }
    gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned(), "adit_buffered_bytes 0".to_owned()]);
    crate::common::process::until("the connections are closed", || gateway.descriptors() <= before + 8);
    assert!(!gateway.log.text().contains("panicked"));
}
