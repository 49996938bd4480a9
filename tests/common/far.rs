//! The upstream's side: what a test says in the place of a model provider.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use adit::wire::{envelope, eventstream};

use super::Client;

impl Client {
    /// As a server: starts an event stream.
    pub(crate) fn begin_stream(&mut self) {
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    /// As a server: starts an event stream with the event that opens every answer.
    pub(crate) fn begin_answer(&mut self) {
        self.begin_stream();
        self.event("messageStart", r#"{"role":"assistant"}"#);
    }

    /// As a server: starts a stream of server-sent events.
    pub(crate) fn begin_sse(&mut self) {
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    /// As a server: the end of a body in chunks.
    pub(crate) fn end_chunks(&mut self) {
        self.send(b"0\r\n\r\n");
    }

    /// As a server: one server-sent event without a name, in a chunk of its own.
    pub(crate) fn data(&mut self, data: &str) {
        self.chunk(format!("data: {data}\n\n").as_bytes());
    }

    /// As a server: one event of Anthropic's, in a chunk of its own.
    pub(crate) fn named(&mut self, data: &str) {
        self.chunk(anthropic_event(data).as_bytes());
    }

    /// As a server: one event of Anthropic's in InvokeModel's envelope, in a chunk of its own.
    pub(crate) fn enveloped(&mut self, data: &str) {
        self.chunk(&wrapped(data));
    }

    /// As a server: the same, for the last answer on this connection.
    pub(crate) fn begin_last_answer(&mut self) {
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n");
        self.event("messageStart", r#"{"role":"assistant"}"#);
    }

    /// As a server: one HTTP chunk.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        self.send(format!("{:x}\r\n", bytes.len()).as_bytes());
        self.send(bytes);
        self.send(b"\r\n");
    }

    /// As a server: one event frame in a chunk of its own.
    pub(crate) fn event(&mut self, name: &str, payload: &str) {
        let bytes = frame(name, payload);
        self.chunk(&bytes);
    }

    /// As a server: a text delta.
    pub(crate) fn delta(&mut self, text: &str) {
        self.event("contentBlockDelta", &format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}}}}"#));
    }

    /// As a server: the end of a good answer and of the body.
    pub(crate) fn end_stream(&mut self) {
        self.event("contentBlockStop", r#"{"contentBlockIndex":0}"#);
        self.event("messageStop", r#"{"stopReason":"end_turn"}"#);
        self.event("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#);
        self.send(b"0\r\n\r\n");
    }

    /// As a server: a whole JSON answer.
    pub(crate) fn reply(&mut self, status: &str, headers: &str, body: &str) {
        self.send(format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    /// As a server: a good short answer.
    pub(crate) fn reply_text(&mut self, text: &str) {
        self.reply_text_with("", text);
    }

    /// As a server: a good short answer, the last one on this connection.
    pub(crate) fn reply_closing(&mut self, text: &str) {
        self.reply_text_with("connection: close\r\n", text);
    }

    /// As a server: a whole JSON answer of this content, the last one on this connection.
    pub(crate) fn reply_closing_json(&mut self, body: &str) {
        self.reply("200 OK", "connection: close\r\n", body);
    }

    fn reply_text_with(&mut self, headers: &str, text: &str) {
        let body = format!(
            r#"{{"output":{{"message":{{"role":"assistant","content":[{{"text":"{text}"}}]}}}},"stopReason":"end_turn","usage":{{"inputTokens":3,"outputTokens":2,"totalTokens":5}},"metrics":{{"latencyMs":1}}}}"#
        );
        self.reply("200 OK", headers, &body);
    }

    /// Ends the connection with a reset instead of a close.
    pub(crate) fn reset(self) {
        // Unread bytes in the socket turn a close into a reset; a linger of zero does so always.
        socket_linger_zero(&self.stream);
        drop(self.stream);
    }

    pub(crate) fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn socket_linger_zero(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// One event frame.
pub(crate) fn frame(name: &str, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    eventstream::write_frame(&mut out, &headers, payload.as_bytes());
    out
}

/// One exception frame.
pub(crate) fn exception(name: &str, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let headers = [(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")];
    eventstream::write_frame(&mut out, &headers, format!(r#"{{"message":"{message}"}}"#).as_bytes());
    out
}

/// One event of Anthropic's as a server-sent event: its name is its type.
pub(crate) fn anthropic_event(data: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(data).unwrap();
    format!("event: {}\ndata: {data}\n\n", json["type"].as_str().unwrap())
}

/// One event of a model's own API in InvokeModel's envelope.
pub(crate) fn wrapped(data: &str) -> Vec<u8> {
    let mut out = Vec::new();
    envelope::write_chunk(&mut out, data.as_bytes());
    out
}

/// A short answer of Anthropic's as its stream has it, one event after the other.
pub(crate) const ANTHROPIC_STREAM: [&str; 6] = [
    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"first"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}"#,
    r#"{"type":"message_stop"}"#,
];

/// A short answer of OpenAI's as its stream has it, with its usage, before the terminator.
pub(crate) const OPENAI_STREAM: [&str; 3] = [
    r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":"first"},"finish_reason":null}]}"#,
    r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
];

/// What a body of frames says, with every checksum checked: the name of each frame and its payload.
pub(crate) fn frames(body: &[u8]) -> Vec<(String, serde_json::Value)> {
    let mut parser = eventstream::Parser::new();
    let mut found = Vec::new();
    {
        let mut frames = parser.push(body);
        while let Some(frame) = frames.next_frame().unwrap() {
            let name = match frame.message_type() {
                Some(eventstream::EVENT) => frame.event_type(),
                Some(eventstream::EXCEPTION) => frame.exception_type(),
                other => panic!("a frame of the type {other:?}"),
            };
            found.push((name.unwrap().to_owned(), serde_json::from_slice(frame.payload).unwrap()));
        }
    }
    parser.finish().unwrap();
    found
}

/// What a body of server-sent events says: name and data of each.
pub(crate) fn events(body: &str) -> Vec<(String, String)> {
    let lines = |event: &str, field: &str| event.lines().filter_map(|line| line.strip_prefix(field)).collect::<Vec<_>>().join("\n");
    body.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':')).map(|event| (lines(event, "event: "), lines(event, "data: "))).collect()
}
