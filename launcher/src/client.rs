//! The little that the launcher asks a running server.

use crate::runtime_dir::Access;
use rain_protocol::client::{Hello, HelloReply, RequestError, View, Viewed, reply_frame};
use rain_protocol::msgpack::{FRAME_BYTES_MAX, FrameError, PROTOCOL_VERSION, body_length, decode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Why a server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the server does not answer: {0}")]
    Io(#[from] io::Error),
    #[error("the server refused: {0}")]
    Refused(String),
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
}

/// What a connection goes through.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection to a server.
pub struct ServerConnection {
    stream: Box<dyn Stream>,
    next_id: u64,
}

impl ServerConnection {
    /// Connects to the server's Unix socket and shakes hands; `patience` is how long to wait for each answer.
    ///
    /// # Errors
    /// When nobody listens or the server refuses.
    pub fn open(access: &Access, patience: Duration) -> Result<Self, AskError> {
        let stream = UnixStream::connect(&access.socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Self::greet(Box::new(stream))
    }

    /// Shakes hands over a connected stream.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn greet(stream: Box<dyn Stream>) -> Result<Self, AskError> {
        let mut connection = Self { stream, next_id: 0 };
        let client = format!("rain {}", env!("CARGO_PKG_VERSION"));
        let hello = Hello { version: PROTOCOL_VERSION, client, token: None, python: None };
        connection.ask::<_, HelloReply>("hello", &hello)?;
        Ok(connection)
    }

    /// Asks for the map that `rain status` shows.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn status(&mut self) -> Result<serde_json::Value, AskError> {
        self.ask("status", &BTreeMap::<String, u32>::new())
    }

    /// Asks what the HTTP API answers at a path.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn view(&mut self, path: String) -> Result<serde_json::Value, AskError> {
        let answer: Viewed = self.ask("view", &View { path })?;
        serde_json::from_str(&answer.json).map_err(|error| AskError::Answer(error.to_string()))
    }

    /// Waits until the server hangs up.
    pub fn wait_for_end(&mut self) {
        // Nothing more is asked, so nothing more comes.
        let _ = self.stream.read(&mut [0]);
    }

    /// Asks the server to stop.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn stop(&mut self) -> Result<(), AskError> {
        self.ask::<_, serde::de::IgnoredAny>("stop", &BTreeMap::<String, u32>::new()).map(|_| ())
    }

    /// Asks something.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn ask<B: Serialize, R: DeserializeOwned>(&mut self, op: &str, body: &B) -> Result<R, AskError> {
        let id = self.next_id;
        self.next_id += 1;
        let wrong = |error: FrameError| AskError::Answer(error.to_string());
        self.stream.write_all(&reply_frame(op, id, body).map_err(wrong)?)?;
        self.stream.flush()?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = body_length(length, FRAME_BYTES_MAX).map_err(wrong)?;
        let mut frame = Vec::new();
        Read::by_ref(&mut self.stream).take(length as u64).read_to_end(&mut frame)?;
        let (head, _, _): (String, u64, serde::de::IgnoredAny) = decode(&frame).map_err(wrong)?;
        if head == "ok" {
            let (_, _, reply): (String, u64, R) = decode(&frame).map_err(wrong)?;
            Ok(reply)
        } else {
            let (_, _, error): (String, u64, RequestError) = decode(&frame).map_err(wrong)?;
            Err(AskError::Refused(error.message))
        }
    }
}
