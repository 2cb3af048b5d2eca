//! `GET /system/df`: the one answer that has the sizes of volumes. Read by hand, because its shape changed: engines before
//! 29 say `Volumes`, later ones `VolumeUsage.Items`, and the types of bollard 0.21 know the second alone.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

type Fault = Box<dyn std::error::Error + Send + Sync>;

const LONGEST: usize = 64 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    volumes: Option<Vec<Volume>>,
    volume_usage: Option<Items>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Items {
    items: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    name: String,
    usage_data: Option<Usage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    /// -1: not known.
    size: i64,
}

/// Name and bytes of every volume that the engine could measure.
pub(super) async fn of_volumes(socket: &str) -> Result<Vec<(String, u64)>, Fault> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/system/df?type=volume&verbose=true").header("host", "docker");
    let asked = async {
        let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(Fault::from(format!("the engine answers {status}"))) }
    };
    // The connection is driven here, so that nothing of it outlives the question.
    let body = tokio::select! {
        body = asked => body?,
        ended = connection => return Err(ended.err().map_or_else(|| "the engine hung up".into(), Fault::from)),
    };
    read(&body)
}

fn read(body: &[u8]) -> Result<Vec<(String, u64)>, Fault> {
    let answer: Answer = serde_json::from_slice(body)?;
    let volumes = answer.volumes.or(answer.volume_usage.and_then(|usage| usage.items)).unwrap_or_default();
    Ok(volumes.into_iter().filter_map(|v| Some((v.name, u64::try_from(v.usage_data?.size).ok()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read() {
        let old = br#"{"LayersSize":1,"Volumes":[{"Name":"a","UsageData":{"RefCount":1,"Size":7}},{"Name":"b","UsageData":{"RefCount":0,"Size":-1}},{"Name":"c"}]}"#;
        let new = br#"{"VolumeUsage":{"ActiveCount":1,"Items":[{"Name":"a","UsageData":{"RefCount":1,"Size":7}}]}}"#;
        for text in [&old[..], &new[..]] {
            assert_eq!(read(text).expect("an answer"), [("a".to_owned(), 7)]);
        }
        assert!(read(b"{}").expect("an answer").is_empty());
    }
}
