//! A client of the WebSocket: the library's for what is said, and one that sends frames byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::appliance::TestAppliance;

pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The headers of a handshake, but for host and token.
pub const HANDSHAKE: [(&str, &str); 5] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
    ("sec-websocket-protocol", "other, fastness.v1"),
];

/// Asks for an upgrade. The socket behind the answer's head, its status and headers.
pub fn shake(
    appliance: &TestAppliance,
    path: &str,
    headers: &[(&str, &str)],
) -> (TcpStream, u16, Vec<(String, String)>) {
    let mut socket = appliance.connect();
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", appliance.address);
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    socket.write_all((request + "\r\n").as_bytes()).unwrap();
    let head = read_head(&mut socket);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let fields = fields.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    (socket, status, fields.collect())
}

/// The head of an answer, and nothing behind it.
pub fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A socket behind a good handshake with this token.
pub fn raw(appliance: &TestAppliance, path: &str, token: &str) -> TcpStream {
    let bearer = format!("Bearer {token}");
    let headers = [&HANDSHAKE[..], &[("authorization", bearer.as_str())]].concat();
    let (socket, status, _) = shake(appliance, path, &headers);
    assert_eq!(status, 101);
    socket
}

/// One event as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    pub message: Value,
    /// The bytes of `event`, as they stand in the message.
    pub event: String,
}

impl Received {
    pub fn seq(&self) -> u64 {
        let seq = self.message["event"]["seq"].as_u64().unwrap();
        assert_eq!(self.message["cursor"], seq.to_string());
        seq
    }

    pub fn name(&self) -> &str {
        self.message["name"].as_str().unwrap()
    }

    pub fn rooms(&self) -> Vec<&str> {
        let rooms = self.message["rooms"].as_array().unwrap();
        rooms.iter().map(|room| room.as_str().unwrap()).collect()
    }
}

pub struct Client {
    pub socket: WebSocket<TcpStream>,
}

impl Client {
    pub fn open(appliance: &TestAppliance) -> Self {
        Client::with(appliance, "/api/v1/ws", &appliance.admin)
    }

    pub fn with(appliance: &TestAppliance, path: &str, token: &str) -> Self {
        Client::over(raw(appliance, path, token))
    }

    pub fn over(socket: TcpStream) -> Self {
        let config = WebSocketConfig::default();
        let socket = WebSocket::from_raw_socket(socket, Role::Client, Some(config));
        Client { socket }
    }

    pub fn say(&mut self, message: Value) {
        self.socket
            .send(Message::Text(message.to_string().into()))
            .unwrap();
    }

    /// The next text; none at the end, with its close code.
    pub fn next(&mut self) -> Result<String, Option<u16>> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(text.to_string()),
                Ok(Message::Close(frame)) => {
                    // The echo goes out with this.
                    while self.socket.read().is_ok() {}
                    return Err(frame.map(|frame| u16::from(frame.code)));
                }
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return Err(None),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn json(&mut self) -> Value {
        let text = self.next().unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Says something and gives back the answer, which must come next.
    pub fn ask(&mut self, message: Value) -> Value {
        let id = message["id"].clone();
        self.say(message);
        let answer = self.json();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Subscribes; the room.
    pub fn subscribe(&mut self, mut message: Value) -> String {
        message["id"] = json!("s");
        let answer = self.ask(message);
        assert_eq!(answer["type"], "ack", "{answer}");
        answer["room"].as_str().unwrap().to_owned()
    }

    /// The next message, which must be an event.
    pub fn event(&mut self) -> Received {
        let text = self.next().unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(message["type"], "event", "{text}");
        let start = text.find("\"event\":{").unwrap() + "\"event\":".len();
        let end = text.rfind(",\"hash\":\"").unwrap_or(text.len() - 1);
        let event = text[start..end].to_owned();
        Received { message, event }
    }

    pub fn events(&mut self, count: usize) -> Vec<Received> {
        (0..count).map(|_| self.event()).collect()
    }

    /// The code with which the connection ends, whatever comes before.
    pub fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next() {
                return code;
            }
        }
    }
}

/// A client's frame: first byte, whether it is masked, payload.
pub fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(mask | length as u8),
        length @ ..65_536 => {
            bytes.push(mask | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(mask | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let key = [0x37, 0xfa, 0x21, 0x3d];
    if masked {
        bytes.extend(key);
        bytes.extend(
            payload
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// A server's frame: first byte and payload; none at the end.
pub fn read_frame(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    socket.read_exact(&mut head).ok()?;
    assert_eq!(head[1] & 0x80, 0, "a server masks nothing");
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            socket.read_exact(&mut length).ok()?;
            u64::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            socket.read_exact(&mut length).ok()?;
            u64::from_be_bytes(length)
        }
        short => u64::from(short),
    };
    let mut payload = vec![0; length as usize];
    socket.read_exact(&mut payload).ok()?;
    Some((head[0], payload))
}
