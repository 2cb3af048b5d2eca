//! Commands beside the replicas and schedules; one method per operation.

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{Decoder, Encoder};

use super::calls::{Lines, within};
use super::{Client, ClientError, Result, escaped};
use crate::edges::api::types::frames::{Frame, Frames};
use crate::edges::api::types::{
    AttachBody, CommandView, CronDetail, CronView, NewCommandBody, NewCronBody, Page, ProblemView,
};

/// A connection of frames.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Client {
    pub async fn commands(&self, name: &str, environment: &str, limit: i64) -> Result<Page<CommandView>> {
        self.get(within(name, environment, &format!("/commands?limit={limit}"))).await
    }

    pub async fn start_command(&self, name: &str, environment: &str, body: &NewCommandBody) -> Result<CommandView> {
        self.call("POST", within(name, environment, "/commands"), Some(body)).await
    }

    pub async fn command(&self, name: &str, environment: &str, id: &str) -> Result<CommandView> {
        self.get(within(name, environment, &format!("/commands/{}", escaped(id)))).await
    }

    pub async fn stop_command(&self, name: &str, environment: &str, id: &str) -> Result<()> {
        let path = within(name, environment, &format!("/commands/{}", escaped(id)));
        self.send("DELETE", path, None::<&()>).await.map(drop)
    }

    pub async fn command_output(&self, name: &str, environment: &str, id: &str, follow: bool) -> Result<Lines> {
        let path = format!("/commands/{}/output?follow={follow}", escaped(id));
        self.lines(within(name, environment, &path)).await
    }

    /// The command runs when this returns; what is said over the connection stands in `api::types::frames`.
    pub async fn attach(&self, name: &str, environment: &str, body: &AttachBody) -> Result<Box<dyn Duplex>> {
        let document = serde_json::to_vec(body).map_err(|e| ClientError::Strange(e.to_string()))?;
        let mut stream = self.upgrade(within(name, environment, "/attach")).await?;
        let mut start = BytesMut::new();
        Frames.encode(Frame::Start(document.into()), &mut start).map_err(ClientError::Broken)?;
        stream.write_all(&start).await.map_err(ClientError::Broken)?;
        stream.flush().await.map_err(ClientError::Broken)?;
        match first(&mut stream).await.map_err(ClientError::Broken)? {
            Frame::Started => Ok(stream),
            Frame::Refused(text) => Err(match serde_json::from_slice::<ProblemView>(&text) {
                Ok(problem) => ClientError::Refused(Box::new(problem)),
                Err(error) => ClientError::Strange(error.to_string()),
            }),
            _ => Err(ClientError::Strange("a frame that is no answer".into())),
        }
    }

    pub async fn crons(&self, name: &str, environment: &str) -> Result<Page<CronView>> {
        self.get(within(name, environment, "/crons")).await
    }

    pub async fn add_cron(&self, name: &str, environment: &str, body: &NewCronBody) -> Result<CronView> {
        self.call("POST", within(name, environment, "/crons"), Some(body)).await
    }

    pub async fn cron(&self, name: &str, environment: &str, cron: &str, limit: i64) -> Result<CronDetail> {
        self.get(within(name, environment, &format!("/crons/{}?limit={limit}", escaped(cron)))).await
    }

    pub async fn remove_cron(&self, name: &str, environment: &str, cron: &str) -> Result<()> {
        let path = within(name, environment, &format!("/crons/{}", escaped(cron)));
        self.send("DELETE", path, None::<&()>).await.map(drop)
    }

    pub async fn run_cron(&self, name: &str, environment: &str, cron: &str) -> Result<CommandView> {
        let path = within(name, environment, &format!("/crons/{}/run", escaped(cron)));
        self.call("POST", path, None::<&()>).await
    }
}

/// Not a byte more than the first frame is read.
async fn first(stream: &mut Box<dyn Duplex>) -> std::io::Result<Frame> {
    let mut bytes = BytesMut::new();
    loop {
        if let Some(frame) = Frames.decode(&mut bytes)? {
            return Ok(frame);
        }
        bytes.put_u8(stream.read_u8().await?);
    }
}
